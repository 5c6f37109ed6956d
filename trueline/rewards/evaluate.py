"""How well a head ranks comparisons it has not seen, by cross-validation over prompts.

Everything the head chooses (layer, precisions, label noise) is chosen inside the training
folds; the test folds are only scored. Folds go by group, so that two branches of one dialogue
never stand on both sides (Stone 1974 on what is to be cross-validated; our REFERENCES on leaks).

Shapes: N comparisons. `correct` is 1, 0, or 0.5 for an equal margin. The interval is clustered by
group. Fails where groups are near-copies of one another: then the folds still leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons
from trueline.errors import InvalidExperiment
from trueline.models.reading import Readings
from trueline.progress import track
from trueline.records import Estimate
from trueline.rewards.protocols import Head
from trueline.rng import Rng

__all__ = ["Validation", "cross_validate"]

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What cross-validation found, row by row and in sum."""

    accuracy: Estimate
    correct: np.ndarray
    """[N], in the order of the comparisons; NaN for rows not tested or not scored."""
    unscored: int
    """Held-out pairs with a side that the reward does not score; they are in no number above."""
    folds: tuple[dict[str, Any], ...]
    """The reward's summary for each fold."""


def cross_validate(
    head: Head, readings: Readings, comparisons: Comparisons, *, folds: Folds, rng: Rng
) -> Validation:
    """Fit on each fold's training rows (`make_folds`) and rank its test rows."""
    groups = np.asarray(comparisons.groups)
    correct, notes, unscored = np.full(len(comparisons), np.nan), [], 0
    sides = comparisons.chosen_keys, comparisons.rejected_keys
    ends = np.stack([readings.rows(keys) for keys in sides])
    for train, test in track(folds, "folds"):
        shared = set(groups[train]) & set(groups[test])
        if shared:
            raise InvalidExperiment(
                "no prompt may stand in training and test rows",
                got=f"{len(shared)} that do",
                do="split by comparisons.groups, as make_folds does",
            )
        fitted = head.fit(readings, comparisons.take(train), rng=rng)
        rows, at = np.unique(ends[:, test], return_inverse=True)
        scored = fitted.score(readings.take(rows)).scored[at.reshape(2, -1)].all(0)
        known = test[scored]
        if len(known):
            mean, _ = fitted.margin(readings, *ends[:, known])
            correct[known] = (np.sign(mean) + 1.0) / 2.0
        notes.append(fitted.summary())
        unscored += len(test) - len(known)
    tested = np.isfinite(correct)
    return Validation(
        accuracy=stats.accuracy(correct[tested], clusters=groups[tested]),
        correct=correct,
        folds=tuple(notes),
        unscored=unscored,
    )
