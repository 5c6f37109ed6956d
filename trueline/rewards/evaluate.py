"""How well a head ranks comparisons it has not seen, by cross-validation over prompts.

Everything the head chooses (layer, precisions, label noise) is chosen inside the training
folds; the test folds are only scored. Folds go by group, so that two branches of one dialogue
never stand on both sides (Stone 1974 on what is to be cross-validated; our REFERENCES on leaks).

    log loss = −mean log p_i,    p_i = reward.win_probability(mean_i, std_i)

Shapes: N comparisons. `correct` is 1, 0, or 0.5 for an equal margin. Intervals are clustered by
group. Fails where groups are near-copies of one another: then the folds still leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons, make_folds
from trueline.errors import InvalidExperiment
from trueline.models.reading import Readings
from trueline.records import Estimate
from trueline.rewards.protocols import Fitted, Head

__all__ = ["Validation", "cross_validate"]

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What cross-validation found, row by row and in sum."""

    accuracy: Estimate
    log_loss: Estimate
    """Nats per comparison of the probability foretold; a coin has 0.693."""
    correct: np.ndarray
    """[N], in the order of the comparisons; NaN for rows not tested or not scored."""
    mean: np.ndarray
    """Held-out margins, [N]."""
    std: np.ndarray
    """Their doubt, [N]."""
    unscored: int
    """Held-out pairs with a side that the reward does not score; they are in no number above."""
    folds: tuple[dict[str, Any], ...]
    """What each fold chose and scored: layer, layers, precisions, evidence, fit_s, accuracy, n."""


def cross_validate(
    head: Head,
    readings: Readings,
    comparisons: Comparisons,
    *,
    folds: int | Folds = 5,
    rng: np.random.Generator,
) -> Validation:
    """Fit on each fold's training rows and rank its test rows."""
    groups = np.asarray(comparisons.groups)
    parts = make_folds(comparisons.groups, folds, rng) if isinstance(folds, int) else folds
    mean, std, loss = np.full((3, len(comparisons)), np.nan)
    chosen, rejected = (
        readings.rows(keys) for keys in (comparisons.chosen_keys, comparisons.rejected_keys)
    )
    notes, unscored = [], 0
    for train, rows in parts:
        test = np.asarray(rows)
        shared = set(groups[train]) & set(groups[test])
        if shared:
            raise InvalidExperiment(
                "no prompt may stand in training and test rows",
                got=f"{len(shared)} that do",
                do="split by comparisons.groups, as make_folds does",
            )
        fitted = head.fit(readings, comparisons.take(train), rng=rng)
        known = test[_scored(fitted, readings, chosen[test], rejected[test])]
        if len(known):
            mean[known], std[known] = fitted.margin(readings, chosen[known], rejected[known])
            loss[known] = -np.log(fitted.win_probability(mean[known], std[known]))
        right = float(_correct(mean[known]).mean()) if len(known) else None
        notes.append({**fitted.summary(), "accuracy": right, "tested": len(known)})
        unscored += len(test) - len(known)
    tested = np.isfinite(mean)
    correct = np.where(tested, _correct(mean), np.nan)
    return Validation(
        accuracy=stats.accuracy(correct[tested], clusters=groups[tested], rng=rng),
        log_loss=stats.mean(loss[tested], clusters=groups[tested], rng=rng),
        correct=correct,
        mean=mean,
        std=std,
        folds=tuple(notes),
        unscored=unscored,
    )


def _scored(
    reward: Fitted, readings: Readings, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Whether both sides of each pair are scored, bool [M]."""
    rows, at = np.unique(np.concatenate([first, second]), return_inverse=True)
    scored = reward.score(readings.take(rows)).scored[at]
    return np.asarray(scored[: len(first)] & scored[len(first) :])


def _correct(margins: np.ndarray) -> np.ndarray:
    return np.asarray((np.sign(margins) + 1.0) / 2.0)
