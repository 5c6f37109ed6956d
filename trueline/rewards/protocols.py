"""What plays which part among rewards, as structural types.

A `Head` learns from comparisons and returns a `Fitted`, which scores readings; with a `Reader` of
texts it becomes a scorer of texts (`scorer.Reward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trueline.models.reading import Readings
from trueline.protocols import Scorer
from trueline.records import Comparison, Response, Scores

__all__ = ["Fitted", "Head", "Reader"]


class Reader(Protocol):
    """What reads responses: a `Trunk` or a `FakeTrunk`."""

    def read(self, responses: Sequence[Response]) -> Readings: ...
    def fingerprint(self) -> str: ...


class Fitted(Protocol):
    """A reward that has learned: what every head's `fit` returns."""

    metadata: dict[str, Any]
    """What it was fitted on and what the fit found."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers it reads, best first."""
        ...

    @property
    def trunk_fingerprint(self) -> str | None:
        """Of the trunk whose readings it was fitted on."""
        ...

    def summary(self) -> dict[str, Any]:
        """The metadata in one line of a run's result."""
        ...

    def score(self, readings: Readings) -> Scores:
        """Scores of all N rows, relative to its reference point."""
        ...

    def margin(
        self,
        readings: Readings,
        first_rows: Sequence[int] | np.ndarray,
        second_rows: Sequence[int] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std of reward(first) − reward(second), each [M]."""
        ...

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Probability that a rater prefers the first of a pair of this margin, [M]."""
        ...

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place; all their responses must have been read."""
        ...

    def with_lower_bound(self, k: float, distance: float = 0.0) -> Fitted:
        """The same reward with another lower bound."""
        ...

    def save(self, folder: str | Path, *, model: str | None = None) -> None:
        """Write it to a folder, whole or not at all; `model`: where its trunk is found."""
        ...

    def on(self, trunk: Reader) -> Scorer:
        """A scorer of texts: this reward with the trunk that reads them."""
        ...


class Head(Protocol):
    """What learns a reward from comparisons: every idea of this folder."""

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> Fitted: ...
