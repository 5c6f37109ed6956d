"""Records of judging: the case, what helpers say about it, and the verdict.

What failed is a value of its own everywhere: a critique that cannot be read has `flaws=None` and
its `problem`, a judge without a usable answer is `UNDECIDED` with its `reason`, a belief that was
not stated is None, never a half.

>>> Cost(calls=1, judge_s=8.0) + Cost(calls=2, tokens=30)
Cost(calls=3, tokens=30, judge_s=8.0)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace

from trueline.errors import DataError
from trueline.records.texts import Prompt, Response

__all__ = ["Case", "Cost", "Critique", "Flaw", "Preference", "Quote", "Reply", "Turn", "Verdict"]


class Preference(enum.StrEnum):
    """Which of a pair a rater prefers; `UNDECIDED` is an answer of its own."""

    FIRST = "first"
    SECOND = "second"
    UNDECIDED = "undecided"

    @property
    def mirrored(self) -> Preference:
        """The same answer with the two sides exchanged."""
        return Preference({"first": "second", "second": "first"}.get(self, self))


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two responses to one prompt, to be judged. Whoever knows which is better keeps it apart."""

    first: Response
    second: Response
    source: str | None = None
    """What the helpers may read and the judge may not (a story, the working); None: all see all."""
    shown_first: int | None = None
    """Which answer, 0 or 1, the judge sees first, as A; None: drawn by lot."""

    def __post_init__(self) -> None:
        if self.first.prompt.key != self.second.prompt.key:
            raise DataError(
                "the two answers of a case must answer the same prompt",
                got=f"{self.first.prompt.text[:40]!r} and {self.second.prompt.text[:40]!r}",
            )

    @property
    def prompt(self) -> Prompt:
        """The prompt that both answer."""
        return self.first.prompt

    @property
    def responses(self) -> tuple[Response, Response]:
        """First and second."""
        return self.first, self.second

    @property
    def mirrored(self) -> Case:
        """The case with its answers exchanged."""
        shown = None if self.shown_first is None else 1 - self.shown_first
        return replace(self, first=self.second, second=self.first, shown_first=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One fault a helper names: its kind, and where (a step's index from 0, if it has one)."""

    kind: str
    step: int | None = None
    evidence: str | None = None
    """What shows it and can be checked ("12 * 3 = 36"); None where it is merely asserted."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Words said to stand in the source. `found` is None where there is no source to look in."""

    text: str
    found: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Critique:
    """What a helper says about a response. `flaws` is None where the text could not be read."""

    response: Response
    text: str
    flaws: tuple[Flaw, ...] | None
    helper: str
    num_tokens: int = 0
    in_favour: bool = False
    """A defence of the response (its flaws are those it denies), as debaters give; not a charge."""
    quotes: tuple[Quote, ...] = ()
    round: int = 0
    problem: str | None = None
    """Why it could not be read or had (timed out, cut off, no known form)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to a dialogue; `problem` says why it may not be used."""

    text: str
    num_tokens: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What judging took: calls of helpers and judges, tokens they wrote, the judge's seconds."""

    calls: float = 0
    tokens: float = 0
    judge_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Cost(**sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One entry of a transcript, in the order of the case (side 0 is its first answer)."""

    speaker: str
    text: str
    round: int = 0
    side: int | None = None
    """Which answer it is about; None for the judge."""
    in_favour: bool = False
    quotes: tuple[Quote, ...] = ()
    belief: float | None = None
    """The judge's probability that the first answer is the better; None if not stated."""
    problem: str | None = None

    @property
    def mirrored(self) -> Turn:
        """The turn in a case with its answers exchanged."""
        side, belief = self.side, self.belief
        return replace(
            self,
            side=None if side is None else 1 - side,
            belief=None if belief is None else 1.0 - belief,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One act of judging a pair: what was preferred, by whom, after what, at what cost."""

    preference: Preference
    rater: str
    critiques: tuple[Critique, ...] = ()
    belief: float | None = None
    """Probability the judge gives to the first being the better; None where it stated none."""
    found: tuple[tuple[int, Flaw], ...] = ()
    """Flaws the judge itself confirmed, each with the side (0 or 1) it is on."""
    text: str = ""
    """The judge's own words, if it gave any."""
    cost: Cost = Cost()
    transcript: tuple[Turn, ...] = ()
    reason: str | None = None
    """Why it is undecided, where something failed or a budget was spent."""
    shown_first: int | None = None
    """Which answer, 0 or 1, the judge saw first, as A; None where that is not known."""

    @property
    def mirrored(self) -> Verdict:
        """The same verdict on the case with its answers exchanged."""
        return replace(
            self,
            preference=self.preference.mirrored,
            belief=None if self.belief is None else 1.0 - self.belief,
            found=tuple((1 - side, flaw) for side, flaw in self.found),
            transcript=tuple(turn.mirrored for turn in self.transcript),
            shown_first=None if self.shown_first is None else 1 - self.shown_first,
        )
