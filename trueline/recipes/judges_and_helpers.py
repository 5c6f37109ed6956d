"""Who judges, and who helps: the kinds of a recipe's `judge` and `oversight.helper`.

A judge that follows a rule, or stands for people of the embedded world, comes with the truth that
it judges by; the run reports that truth and never learns from it. What a helper must do follows
from the protocol: argue for a side in a debate, criticise elsewhere.

    short form            the recipe's table
    simulated:impressed   {kind = "simulated", population = "impressed"}
    endpoint:URL#MODEL    {kind = "endpoint", url = "URL", model = "MODEL"}
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from trueline.audits.recursion import raise_on_sums
from trueline.data.comparisons import Comparisons
from trueline.data.files import read_records
from trueline.errors import InputError
from trueline.loop.layers import read_for
from trueline.models.adapters import BasePolicy
from trueline.models.chat import LocalChatModel, Together
from trueline.models.endpoint import Endpoint
from trueline.models.sampling import complete
from trueline.oversight.text_helpers import LetterJudge, TextDebater, TextHelper, TextJudge
from trueline.oversight.transcript import require
from trueline.progress import hush
from trueline.protocols import ChatModel, Rater
from trueline.raters.people import People, Queue, ask_in_terminal
from trueline.raters.rule_and_reward import RewardRater, RuleRater
from trueline.recipes.build import known
from trueline.recipes.session import Session
from trueline.records import Response
from trueline.registry import register
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums
from trueline.worlds.sums.cases import sums_cases
from trueline.worlds.sums.critic import SumsCritic, trained_critic
from trueline.worlds.sums.debaters import SumsDebater

__all__ = ["HELPERS", "JUDGES", "Judging", "from_short", "open_helper", "sha256_of", "sums_cases"]

API_KEY = "TRUELINE_API_KEY"
"""The environment variable whose value is sent to endpoints, if there is one."""
AT_ONCE = 8
"""How many cases language models judge at the same time, unless told otherwise."""
_CRITIC, _DEBATER = ("critique", "constitution"), ("debate", "consultancy")
NEEDS = {**dict.fromkeys(_CRITIC, "critique"), **dict.fromkeys(_DEBATER, "argue")}
"""What a helper must be able to do, by protocol; the others do without, or say so themselves."""
Help = tuple[Any, Mapping[str, float]]
"""A helper at work, and the `labels` and `judge_s` that raising it took: the run's budget pays."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """A judge at work, with what is known beside it."""

    rater: Rater
    certificate: str
    """What a certificate of this judge says: "better by ..."."""
    gold: Callable[[Response], float] | None = None
    breakdown: Callable[[Response], Mapping[str, bool]] | None = None
    comparisons: Comparisons = field(default_factory=lambda: Comparisons(()))
    """What the reward may learn from before anybody is asked."""
    data_hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SimulatedJudge:
    """People of the embedded world, who read worked sums with limited care."""

    short: ClassVar[str] = "population"
    population: Literal["default", "impressed", "exact"] = "default"
    """How careful they are, and how easily impressed."""

    def open(self, session: Session) -> Judging:
        """Return them with the world's truth."""
        world, rater = Sums(), Raters.named(self.population)
        said = "better by the simulated raters' own judgement"
        return Judging(rater=rater, certificate=said, gold=world.gold, breakdown=world.breakdown)


@dataclass(frozen=True, kw_only=True)
class RuleJudge(RuleRater):
    """A rater that follows a rule: one of its name, /REGEX/ or MODULE:FUNCTION."""

    short: ClassVar[str] = "name"

    def open(self, session: Session) -> Judging:
        """Return the rule; its value is all that it wants, so that is the gold."""
        said = f"better by the rule '{self.name}'"
        return Judging(rater=self, certificate=said, gold=lambda r: self.value(r.text))


@dataclass(frozen=True, kw_only=True)
class FileJudge:
    """People behind a file of comparisons: half of it, by prompt, is learned from; a reward fitted
    on the other half answers in their stead."""

    short: ClassVar[str] = "path"
    path: Path
    """File of comparisons."""

    def open(self, session: Session) -> Judging:
        """Return the reward that stands for them."""
        pairs = session.comparisons(self.path)
        ours, theirs = pairs.split(0.5, stream(session.seed, "stand-in", "split"))
        head, rng = Bayesian(), stream(session.seed, "stand-in", "fit")
        fitted = head.fit(read_for(head, session.trunk, theirs, rng=rng)[0], theirs, rng=rng)
        said = f"better by a reward fitted on {len(theirs)} comparisons kept aside; not by people"
        rater = RewardRater(scorer=fitted.on(session.trunk))
        hashes = {"pairs": sha256_of(self.path)}
        return Judging(rater=rater, certificate=said, comparisons=ours, data_hashes=hashes)


@dataclass(frozen=True, kw_only=True)
class RewardJudge:
    """A saved reward that draws its verdicts from its own probabilities."""

    short: ClassVar[str] = "folder"
    folder: Path
    """Reward folder, as `trueline fit` wrote it."""
    model: str | None = None
    """Its trunk, if it has moved since the fit."""

    def open(self, session: Session) -> Judging:
        """Return the reward on its trunk."""
        trunk, reward = session.reward(self.folder, self.model)
        said = f"better by the reward {self.folder.name}; not by people"
        return Judging(rater=RewardRater(scorer=reward.on(trunk)), certificate=said)


@dataclass(frozen=True, kw_only=True)
class PeopleJudge:
    """You, at this terminal."""

    def open(self, session: Session) -> Judging:
        """Return whoever sits at the console; no case is put to them twice."""
        hush()  # It would write over the questions.
        queue, who = Queue(session.queue), getpass.getuser()
        ask = partial(ask_in_terminal, queue, person=who, console=session.console)
        people = People(queue=queue, meanwhile=ask)
        return Judging(rater=people, certificate="better by the judgement of people")


@dataclass(frozen=True, kw_only=True)
class NoHelper:
    """Nobody helps."""

    at_once: ClassVar[int] = AT_ONCE

    def help(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return no helper."""
        return None, {}


@dataclass(frozen=True, kw_only=True)
class SumsHelper:
    """The embedded model reviews worked sums, or argues by its reviews."""

    short: ClassVar[str] = "critic"
    critic: Literal["plain", "trained"] = "plain"
    """The model as it is, or with the adapter that was trained on planted flaws."""

    def help(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the critic, or the debater made of it."""
        trunk = session.load(None)
        greedily = partial(complete, trunk.model, trunk.codec, max_new_tokens=80)
        critic: Any = SumsCritic(greedily) if self.critic == "plain" else trained_critic(trunk)
        return SumsDebater(critic=critic) if NEEDS.get(protocol) == "argue" else critic, {}


@dataclass(frozen=True, kw_only=True)
class RaisedHelper:
    """Helpers for worked sums raised level by level on the judge's own judgements of parts."""

    labels: tuple[int, ...] = (40, 40, 40)
    """Judgements that raise each level; three levels cover chains of eight steps."""

    def help(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Raise them (Leike et al. 2018, arXiv 1811.07871)."""
        rng = stream(session.seed, "raise")
        helper, cost = raise_on_sums(session.trunk, judge=judge, labels=self.labels, rng=rng)
        return helper, {"labels": sum(self.labels), "judge_s": cost.judge_s}


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A language model on this machine."""

    short: ClassVar[str] = "path"
    path: str
    """Folder or hub name of a chat model."""
    temperature: float = 0.0
    """At which it speaks; at 0 it says what is likeliest."""

    @property
    def at_once(self) -> int:
        """How many cases it takes at the same time: of one batch all draw the same numbers."""
        return 1 if self.temperature else AT_ONCE

    def open(self, session: Session) -> Judging:
        """Return the model as a judge of texts."""
        certificate = f"better by the judgement of model {self.path}"
        return Judging(rater=TextJudge(self._chat(session)), certificate=certificate)

    def help(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the model as critic or debater."""
        return _of_texts(self._chat(session), protocol)

    def _chat(self, session: Session) -> ChatModel:
        policy = BasePolicy(session.load(self.path))
        model = LocalChatModel(policy, temperature=self.temperature)
        return model if self.temperature else Together(model)


@dataclass(frozen=True, kw_only=True)
class ForcedChoice:
    """A language model on this machine that gives the probabilities of "A" and "B"."""

    short: ClassVar[str] = "path"
    path: str
    """Folder or hub name of a chat model."""

    def open(self, session: Session) -> Judging:
        """Return the model as a judge that writes nothing."""
        model = LocalChatModel(BasePolicy(session.load(self.path)))
        said = f"better by the judgement of model {self.path}, made to choose"
        return Judging(rater=LetterJudge(model), certificate=said)


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A language model behind an OpenAI-compatible server."""

    short: ClassVar[str] = "url#model"
    url: str
    """Address of the server, with /v1."""
    model: str
    """Name that the server knows the model by."""
    timeout_s: float = 60.0
    """Seconds for one try."""
    temperature: float = 0.0
    """At which it is asked to speak."""
    at_once: ClassVar[int] = AT_ONCE

    def open(self, session: Session) -> Judging:
        """Return the model as a judge of texts."""
        certificate = f"better by the judgement of {self.model}"
        return Judging(rater=TextJudge(self._chat()), certificate=certificate)

    def help(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the model as critic or debater."""
        return _of_texts(self._chat(), protocol)

    def _chat(self) -> ChatModel:
        key = API_KEY if API_KEY in os.environ else None
        return Endpoint(
            url=self.url,
            model=self.model,
            key=key,
            timeout_s=self.timeout_s,
            temperature=self.temperature,
        )


def _of_texts(model: ChatModel, protocol: str) -> Help:
    return TextDebater(model) if NEEDS.get(protocol) == "argue" else TextHelper(model), {}


JUDGES = register(
    "judges",
    "open",
    simulated=SimulatedJudge,
    rule=RuleJudge,
    file=FileJudge,
    reward=RewardJudge,
    people=PeopleJudge,
    model=LocalModel,
    forced_choice=ForcedChoice,
    endpoint=ServedModel,
)
"""Name to kind of judge."""

HELPERS = register(
    "helpers",
    "help",
    none=NoHelper,
    sums=SumsHelper,
    raised=RaisedHelper,
    model=LocalModel,
    endpoint=ServedModel,
)
"""Name to kind of helper."""


def open_helper(name: str, helper: Any, session: Session, judge: Rater) -> Help:
    """Return the helper at work for the protocol of that name, and what raising it took;
    `InputError` where the helper cannot do what the protocol needs."""
    opened: Help = helper.help(session, protocol=name, judge=judge)
    if name in NEEDS:
        require(opened[0], NEEDS[name], name)
    return opened


def from_short(kinds: Mapping[str, type], text: str, *, key: str) -> dict[str, Any]:
    """Return the table that a short form stands for: `kind`, or `kind:REST`."""
    kind, _, rest = text.partition(":")
    known(kind, kinds, f"{key} must be one of")
    if not rest:
        return {"kind": kind}
    names = getattr(kinds[kind], "short", "").split("#")
    parts = rest.rsplit("#", len(names) - 1)
    if len(parts) != len(names) or not all((*names, *parts)):
        form = ":".join(filter(None, (kind, "#".join(names).upper())))
        raise InputError(f"{key} must be named {form}", got=repr(text))
    return {"kind": kind, **dict(zip(names, parts, strict=True))}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of a data set's rows, in hex."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    rows = "".join(json.dumps(dict(row.fields), default=str) for row in read_records(path))
    return hashlib.sha256(rows.encode()).hexdigest()
