"""The roles, as structural types: anything with these methods can play the part.

Randomness is always an argument, a `numpy.random.Generator` made by `trueline.rng`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from trueline.records import Case, Critique, Message, Prompt, Reply, Response, Scores, Verdict
from trueline.rng import Rng

__all__ = ["ChatModel", "Chooser", "Debater", "Helper", "Oversight", "Rater", "Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Scores responses. Built on a fitted reward, so it cannot be "not fitted yet"."""

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Return scores of N responses, row i answering prompt i."""


@runtime_checkable
class Rater(Protocol):
    """Says which of two responses is better, perhaps after reading critiques: the judge."""

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: Rng,
    ) -> Verdict:
        """Return one verdict on one pair; a rater that cannot say answers `UNDECIDED`."""


@runtime_checkable
class Helper(Protocol):
    """Criticises responses; its word is shown to the judge, never trusted."""

    def critique(self, responses: Sequence[Response], *, rng: Rng) -> list[Critique]:
        """Return one critique a response, in order; another `rng` gives an independent one."""


@runtime_checkable
class Debater(Protocol):
    """Argues for an answer assigned to it, whether or not that answer is the better one."""

    def argue(self, case: Case, *, side: int, said: Sequence[Critique], rng: Rng) -> Critique:
        """Return one speech for side 0 (first) or 1 (second), after what was `said` before.

        It is a charge against the other answer, or a defence (`in_favour`) of its own.
        """


@runtime_checkable
class ChatModel(Protocol):
    """Answers dialogues with text: any language model, behind any interface."""

    def say(self, dialogues: Sequence[Sequence[Message]], *, rng: Rng) -> list[Reply]:
        """Return one reply a dialogue, in order; a failed one has a `problem`, none is raised."""


@runtime_checkable
class Chooser(Protocol):
    """Says how probable each of a few words is as its answer to a dialogue."""

    def choose(
        self, dialogues: Sequence[Sequence[Message]], words: Sequence[str]
    ) -> list[list[float] | None]:
        """Return the words' probabilities, which add up to 1; None where it cannot answer."""


@runtime_checkable
class Oversight(Protocol):
    """How a case is judged: with whose help, in what order, at what cost (`trueline.oversight`)."""

    def judge(self, case: Case, *, helper: Any = None, judge: Rater, rng: Rng) -> Verdict:
        """Return one verdict, with its transcript and cost."""
