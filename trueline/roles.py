"""Who does what, as structural types: anything with these methods can play the part.

Randomness is always an argument, a `numpy.random.Generator` made by `trueline.rng`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from trueline.records import Critique, Prompt, Response, Scores, Verdict

__all__ = ["Helper", "Policy", "Rater", "Scorer"]


@runtime_checkable
class Policy(Protocol):
    """Answers prompts."""

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
    ) -> list[list[Response]]:
        """`num_samples` responses (K) to each of B prompts: B lists of K, with their `logp`."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Scores responses. Built on a fitted reward, so it cannot be "not fitted yet"."""

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        ...


@runtime_checkable
class Rater(Protocol):
    """Says which of two responses is better, perhaps after reading critiques of them."""

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict on one pair; a rater that cannot say answers `UNDECIDED`."""
        ...


@runtime_checkable
class Helper(Protocol):
    """Reads responses and says what is wrong with them; its word is shown, never trusted."""

    def critique(self, responses: Sequence[Response]) -> list[Critique]:
        """One critique a response, in order."""
        ...
