"""Who helps the judge: the kinds of a recipe's `oversight.helper`.

What a helper must do follows from the protocol: argue for a side in a debate, criticise elsewhere.
The protocol's own check says so where a helper cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from trueline.audits.recursion import raise_on_sums
from trueline.oversight import PROTOCOLS
from trueline.oversight.text_helpers import TextDebater, TextHelper
from trueline.oversight.transcript import require
from trueline.protocols import ChatModel, Oversight, Rater
from trueline.recipes.session import Session
from trueline.registry import name_of, register
from trueline.rng import stream
from trueline.worlds.sums.critic import SumsCritic, trained_critic
from trueline.worlds.sums.debaters import SumsDebater

__all__ = ["HELPERS", "Help", "NoHelper", "open_helper"]

NEEDS = {
    "critique": "critique",
    "debate": "argue",
    "consultancy": "argue",
    "constitution": "critique",
}
"""What a helper must be able to do, by protocol; the others do without, or say so themselves."""


@dataclass(frozen=True, kw_only=True)
class Help:
    """A helper at work, and what raising it took."""

    helper: Any = None
    cost: Mapping[str, float] = field(default_factory=dict)
    """`labels` and `judge_s` that raising it took; the labels are paid from the run's budget."""


@dataclass(frozen=True, kw_only=True)
class NoHelper:
    """Nobody helps."""

    def open(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return no helper."""
        return Help()


@dataclass(frozen=True, kw_only=True)
class SumsHelper:
    """The embedded model reviews worked sums, or argues by its reviews."""

    short: ClassVar[str] = "critic"
    critic: Literal["plain", "trained"] = "plain"
    """The model as it is, or with the adapter that was trained on planted flaws."""

    def open(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the critic, or the debater made of it."""
        critic: Any = (
            SumsCritic(session.complete)
            if self.critic == "plain"
            else trained_critic(session.load(None))
        )
        return Help(helper=SumsDebater(critic=critic) if NEEDS.get(protocol) == "argue" else critic)


@dataclass(frozen=True, kw_only=True)
class RaisedHelper:
    """Helpers for worked sums raised level by level on the judge's own judgements of parts."""

    labels: tuple[int, ...] = (40, 40, 40)
    """Judgements that raise each level; three levels cover chains of eight steps."""

    def open(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Raise them (Leike et al. 2018, arXiv 1811.07871)."""
        rng = stream(session.seed, "raise")
        helper, cost = raise_on_sums(session.trunk, judge=judge, labels=self.labels, rng=rng)
        return Help(helper=helper, cost={"labels": sum(self.labels), "judge_s": cost.judge_s})


@dataclass(frozen=True, kw_only=True)
class ModelHelper:
    """A language model on this machine."""

    short: ClassVar[str] = "path"
    path: str
    """Folder or hub name of a chat model."""

    def open(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the model as critic or debater."""
        return _of_texts(session.chat_model(self.path), protocol)


@dataclass(frozen=True, kw_only=True)
class EndpointHelper:
    """A language model behind an OpenAI-compatible server."""

    short: ClassVar[str] = "url#model"
    url: str
    """Address of the server, with /v1."""
    model: str
    """Name that the server knows the model by."""
    timeout_s: float = 60.0
    """Seconds for one try."""

    def open(self, session: Session, *, protocol: str, judge: Rater) -> Help:
        """Return the model as critic or debater."""
        return _of_texts(session.endpoint(self.url, self.model, self.timeout_s), protocol)


def open_helper(
    protocol: Oversight, helper: Any, session: Session, judge: Rater
) -> tuple[str, Help]:
    """Return the protocol's name and the helper at work for it.

    Raises:
        InputError: the helper cannot do what the protocol needs.
    """
    name = name_of(protocol, PROTOCOLS) or type(protocol).__name__
    help: Help = helper.open(session, protocol=name, judge=judge)
    if name in NEEDS:
        require(help.helper, NEEDS[name], name)
    return name, help


def _of_texts(model: ChatModel, protocol: str) -> Help:
    return Help(helper=TextDebater(model) if NEEDS.get(protocol) == "argue" else TextHelper(model))


HELPERS = register(
    "helpers",
    "open",
    none=NoHelper,
    sums=SumsHelper,
    raised=RaisedHelper,
    model=ModelHelper,
    endpoint=EndpointHelper,
)
"""Name to kind of helper."""
