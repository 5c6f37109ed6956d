"""Who helps and who judges, by name: the embedded world, a model, an endpoint, a reward, people.

>>> make_judge("sums:exact", table=Table()).people[0].name
'strict-00'
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from trueline.cli.common import load_trunk
from trueline.cli.score import load_scored
from trueline.data.cases import LabelledCase
from trueline.data.planted_flaws import ArithmeticFlaws, FlawPlanter
from trueline.errors import InputError
from trueline.models.adapters import BasePolicy
from trueline.models.endpoint import Endpoint
from trueline.models.generate import complete
from trueline.models.speaker import LocalChatModel
from trueline.models.trunk import Trunk
from trueline.oversight import PROTOCOLS
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.oversight.planted_flaws import PlantedFlaws
from trueline.oversight.recursive import Recursive
from trueline.oversight.rewriter import Rewriter
from trueline.oversight.text_helpers import TextDebater, TextHelper, TextJudge
from trueline.oversight.transcript import needs
from trueline.protocols import ChatModel, Rater
from trueline.raters.people import People, ask_in_terminal
from trueline.raters.queue import Queue
from trueline.raters.reward_rater import RewardRater
from trueline.records import Case, Cost
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums, SumsCritic
from trueline.worlds.sums.debaters import SumsDebater
from trueline.worlds.sums.flaws import SumsFlaws
from trueline.worlds.sums.spans import Spans
from trueline.worlds.sums.trained_critic import trained_critic

__all__ = ["KEY", "Table", "make_helper", "make_judge", "make_protocol", "sums_cases"]

KEY = "TRUELINE_API_KEY"
"""The environment variable whose value is sent to endpoints, if there is one."""
SPEAKERS = "model:PATH, endpoint:URL#MODEL"
OWN = ("sums", "sums:trained")
ARGUED = ("debate", "consultancy")
"""Protocols whose helpers argue; those of the others criticise."""
MAX_NEW_TOKENS = 80


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where they sit: each model is loaded once; a person sits at the console."""

    device: str = "cpu"
    console: Console = field(default_factory=Console)
    queue: Path = Path("judged.queue")
    """Where a person's cases and answers lie."""
    timeout_s: float = 60.0
    """What an endpoint has for one try."""
    speakers: dict[str, ChatModel] = field(default_factory=dict)

    @cached_property
    def trunk(self) -> Trunk:
        """The embedded model."""
        return load_trunk(None, device=self.device)

    def review(self, prefixes: list[list[int]]) -> list[list[int]]:
        """The embedded model goes on from these tokens."""
        codec = self.trunk.codec
        return complete(self.trunk.model, codec, prefixes, max_new_tokens=MAX_NEW_TOKENS)

    def speaker(self, name: str) -> ChatModel | None:
        """The language model of that name; None if it names none."""
        kind, _, rest = name.partition(":")
        if kind not in ("model", "endpoint") or not rest:
            return None
        if name not in self.speakers:
            self.speakers[name] = self._model(rest) if kind == "model" else self._endpoint(rest)
        return self.speakers[name]

    def person(self) -> Rater:
        """Whoever sits at the console; asked nothing twice."""
        queue, name = Queue(self.queue), getpass.getuser()

        def ask() -> bool:
            return ask_in_terminal(queue, person=name, console=self.console, read=_typed)

        return People(queue=queue, meanwhile=ask)

    def _model(self, path: str) -> ChatModel:
        return LocalChatModel(BasePolicy(load_trunk(path, device=self.device)))

    def _endpoint(self, place: str) -> ChatModel:
        url, _, model = place.partition("#")
        if not url or not model:
            raise InputError("an endpoint must be named endpoint:URL#MODEL", got=repr(place))
        key = KEY if KEY in os.environ else None
        return Endpoint(url=url, model=model, key=key, timeout_s=self.timeout_s)


def make_judge(name: str, *, table: Table) -> Rater:
    """The judge of that name."""
    kind, _, rest = name.partition(":")
    if kind == "sums":
        return Raters.named(rest or "default")
    if name == "people":
        return table.person()
    if kind == "reward" and rest:
        trunk, reward = load_scored(Path(rest), None, device=table.device)
        return RewardRater(scorer=reward.on(trunk))
    speaker = table.speaker(name)
    if speaker is None:
        known = f"sums, sums:POPULATION, people, reward:FOLDER, {SPEAKERS}"
        raise InputError(f"--judge must be one of {known}", got=repr(name))
    return TextJudge(speaker)


def make_helper(name: str, protocol: str, *, table: Table) -> object | None:
    """The helper of that name, as the protocol needs it; None if there is none."""
    argues, speaker = protocol in ARGUED, table.speaker(name)
    helper: object | None = None
    if name in OWN:
        trained = name == OWN[1]
        critic = trained_critic(table.trunk) if trained else SumsCritic(table.review)
        helper = SumsDebater(critic=critic) if argues else critic
    elif speaker is not None:
        helper = TextDebater(speaker) if argues else TextHelper(speaker)
    elif name != "none":
        raise InputError(
            f"--helper must be one of none, {', '.join(OWN)}, {SPEAKERS}", got=repr(name)
        )
    if protocol not in ("direct", "planted_flaws"):
        needs(helper, "argue" if argues else "critique", protocol)
    return helper


def make_protocol(name: str, helper: str, *, limit: Cost, table: Table) -> Any:
    """The protocol of that name, fitted to the world of its helper."""
    if name == "planted_flaws":
        speaker = table.speaker(helper)
        spoiler: FlawPlanter = ArithmeticFlaws() if speaker is None else Rewriter(speaker=speaker)
        inner = Direct() if helper == "none" else WithCritique()
        return PlantedFlaws(
            spoiler=SumsFlaws() if helper in OWN else spoiler, protocol=inner, limit=limit
        )
    if name == "recursive" and helper in OWN:
        return Recursive(division=Spans(), limit=limit)
    if name not in PROTOCOLS:
        raise InputError(f"--protocol must be one of {', '.join(PROTOCOLS)}", got=repr(name))
    spec: Any = PROTOCOLS[name]
    return replace(spec(), limit=limit)


def sums_cases(num: int, *, table: Table, seed: int) -> list[LabelledCase]:
    """Cases of the embedded world: two answers of its model to one prompt, of unequal gold."""
    world, rng = Sums(), stream(seed, "cases")
    policy = BasePolicy(table.trunk, max_new_tokens=MAX_NEW_TOKENS)
    cases: list[LabelledCase] = []
    while len(cases) < num:
        prompts = world.prompts(2 * num, rng, "eval")
        for first, second in policy.sample(prompts, num_samples=2, rng=rng):
            gap = world.gold(first) - world.gold(second)
            if gap:
                case = Case(first=first, second=second)
                group = first.prompt.key
                cases.append(LabelledCase(case=case, correct=int(gap < 0), group=group))
    return cases[:num]


def _typed() -> str:
    try:
        return input()
    except EOFError:
        raise InputError("a person must be at the terminal to judge", got="no input") from None
