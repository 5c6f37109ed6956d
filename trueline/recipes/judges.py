"""Who judges: the kinds of a recipe's `judge`.

A judge that follows a rule, or stands for people of the embedded world, comes with the truth that
it judges by; the run reports that truth and never learns from it.

    short form            the recipe's table
    simulated:impressed   {kind = "simulated", population = "impressed"}
    endpoint:URL#MODEL    {kind = "endpoint", url = "URL", model = "MODEL"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from trueline.data.comparisons import Comparisons
from trueline.errors import InputError
from trueline.oversight.text_helpers import TextJudge
from trueline.protocols import Rater
from trueline.raters.reward_rater import RewardRater
from trueline.raters.rule import RULES, RuleRater
from trueline.recipes.session import Session, trunk_of
from trueline.records import Response
from trueline.registry import register
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import load_reward
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums

__all__ = ["JUDGES", "Judging", "from_short", "sha256_of"]


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
        world = Sums()
        return Judging(
            rater=Raters.named(self.population),
            certificate="better by the simulated raters' own judgement",
            gold=world.gold,
            breakdown=world.breakdown,
        )


@dataclass(frozen=True, kw_only=True)
class RuleJudge:
    """A rater that follows a written rule which the reward never sees."""

    short: ClassVar[str] = "name"
    name: str
    """Name of a rule of `trueline.raters.rule.RULES`."""

    def open(self, session: Session) -> Judging:
        """Return the rule; its value is all that it wants, so that is the gold."""
        rater = RuleRater(name=self.name)
        return Judging(
            rater=rater,
            certificate=f"better by the rule '{self.name}'",
            gold=lambda response: RULES[self.name](response.text),
        )


@dataclass(frozen=True, kw_only=True)
class FileJudge:
    """People behind a file of comparisons: half of it, by prompt, is learned from; a reward fitted
    on the other half answers in their stead."""

    short: ClassVar[str] = "path"
    path: Path
    """File of comparisons."""

    def open(self, session: Session) -> Judging:
        """Return the reward that stands for them."""
        pairs = Comparisons.load(self.path)
        ours, theirs = pairs.split(0.5, stream(session.seed, "stand-in", "split"))
        rng = stream(session.seed, "stand-in", "fit")
        fitted = Bayesian().fit(session.trunk.read(theirs.responses), theirs, rng=rng)
        return Judging(
            rater=RewardRater(scorer=fitted.on(session.trunk)),
            certificate=f"better by a reward fitted on {len(theirs)} comparisons of the file kept "
            "aside; not by people",
            comparisons=ours,
            data_hashes={"pairs": sha256_of(self.path)},
        )


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

        trunk = session.load(self.model or trunk_of(self.folder))
        reward = load_reward(self.folder, trunk)
        return Judging(
            rater=RewardRater(scorer=reward.on(trunk)),
            certificate=f"better by the reward {self.folder.name}; not by people",
        )


@dataclass(frozen=True, kw_only=True)
class PeopleJudge:
    """You, at this terminal."""

    short: ClassVar[str] = "timeout_s"
    timeout_s: float = 3600.0
    """How long a case waits for an answer."""

    def open(self, session: Session) -> Judging:
        """Return whoever sits at the console."""
        return Judging(
            rater=session.person(self.timeout_s), certificate="better by the judgement of people"
        )


@dataclass(frozen=True, kw_only=True)
class ModelJudge:
    """A language model on this machine."""

    short: ClassVar[str] = "path"
    path: str
    """Folder or hub name of a chat model."""

    def open(self, session: Session) -> Judging:
        """Return the model as a judge of texts."""
        return Judging(
            rater=TextJudge(session.chat_model(self.path)),
            certificate=f"better by the judgement of model {self.path}",
        )


@dataclass(frozen=True, kw_only=True)
class EndpointJudge:
    """A language model behind an OpenAI-compatible server."""

    short: ClassVar[str] = "url#model"
    url: str
    """Address of the server, with /v1."""
    model: str
    """Name that the server knows the model by."""
    timeout_s: float = 60.0
    """Seconds for one try."""

    def open(self, session: Session) -> Judging:
        """Return the model as a judge of texts."""
        return Judging(
            rater=TextJudge(session.endpoint(self.url, self.model, self.timeout_s)),
            certificate=f"better by the judgement of {self.model}",
        )


JUDGES = register(
    "judges",
    "open",
    simulated=SimulatedJudge,
    rule=RuleJudge,
    file=FileJudge,
    reward=RewardJudge,
    people=PeopleJudge,
    model=ModelJudge,
    endpoint=EndpointJudge,
)
"""Name to kind of judge."""


def from_short(kinds: Mapping[str, type], text: str, *, key: str) -> dict[str, Any]:
    """Return the table that a short form stands for: `kind`, or `kind:REST`.

    Raises:
        InputError: an unknown kind, or an endpoint without "#".

    >>> from_short(JUDGES, "rule:joy", key="judge")
    {'kind': 'rule', 'name': 'joy'}
    """
    kind, _, rest = text.partition(":")
    if kind not in kinds:
        raise InputError(f"{key} must be one of {', '.join(kinds)}", got=repr(text))
    if not rest:
        return {"kind": kind}
    names = getattr(kinds[kind], "short", "").split("#")
    if names == [""]:
        raise InputError(f"{key} {kind} must stand alone", got=repr(text))
    parts = rest.rsplit("#", len(names) - 1)
    if len(parts) != len(names) or not all(parts):
        form = "#".join(names).upper()
        raise InputError(f"{key} must be named {kind}:{form}", got=repr(text))
    return {"kind": kind, **dict(zip(names, parts, strict=True))}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
