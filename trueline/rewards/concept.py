"""A concept as a direction in the trunk's latents, used only if pairs held out bear it out.

    w ∝ mean of d,    d = z(chosen) − z(rejected)        posterior N(w, S / N)

Marks and Tegmark 2023 (2310.06824) for the mean difference; Zou et al. 2023 (2310.01405). One layer
and one pool are read, those of largest held-out separation: mean over standard deviation of the
direction's margins on prompts that took no part in it.

**A concept is no reward until labelled pairs validate it**: where the interval of its accuracy on
pairs held out reaches down to 1/2, the reward is withheld and `on(trunk)` refuses it.

**A policy learns to evade a probe that it is optimised against** (Bailey et al. 2024, 2412.09565;
measured in docs/log.md). Never optimise against a concept alone without fresh labels.

Where we differ: (1) the mean difference is scaled to log-odds by its held-out margins; (2) its
covariance S is shrunk towards a multiple of the identity by F / (F + N), as novelty's is.
Shapes: N pairs, F features; S is F × F. Unit: nats. Surprisals are read and weigh nothing.
Fails where the wordings of the pairs, not what they mean, are what the direction picks up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky

from trueline import stats
from trueline.data.comparisons import Comparisons, group_of
from trueline.models.reading import Readings
from trueline.rewards.features import Features, Training, in_order
from trueline.rewards.laplace import Dense, primal_mode
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Pairs
from trueline.rng import Rng

__all__ = ["Concept"]

FOLDS = 5
"""Parts that pairs are held out in, by prompt; by pair where all have one prompt."""
WINSOR = 3.0
"""Standard deviations at which standardised features are clipped."""
SHUT = 1e12
"""Prior precision of a weight that is to stay 0."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A mean difference of pairs; its fields are its configuration."""

    layer: int | str = "separation"
    """A layer of the trunk, or "separation" for the best on held-out pairs."""
    pooling: str = "separation"
    """"last" or "mean", or "separation"."""

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> LinearReward:
        """Return the direction from `rejected` to `chosen`; `rng` is not used."""
        pairs = in_order(comparisons)
        training = Training.of(readings, pairs)
        groups = _numbers(pairs)
        fold = groups % min(FOLDS, int(groups.max(initial=0)) + 1)
        layers = readings.layers if isinstance(self.layer, str) else (self.layer,)
        pools = readings.poolings if self.pooling == "separation" else (self.pooling,)
        parts = [(at, pool) for at in layers for pool in pools]
        tables = {}
        for part in parts:
            features = Features.learn(training.readings, (part,), winsor=WINSOR)
            rows = training.differences(features)
            rows[:, : 5 * features.surprisals] = 0.0
            tables[part] = features, rows
        separation = np.array([_separations(tables[part][1], fold) for part in parts])
        choice, *inner = (parts[int(i)] for i in separation.argmax(0))
        # Each fold is judged by a direction of the others, in the part that is best on those.
        margins = np.zeros(len(fold))
        for k, part in enumerate(inner):
            rows, out = tables[part][1], fold == k
            held = rows @ rows[~out].mean(0)
            margins[out] = held[out] / (np.sqrt(np.mean(held[~out] ** 2)) or 1.0)
        features, rows = tables[choice]
        mean = rows.mean(0)
        size = float(np.sqrt(np.mean((rows @ mean) ** 2))) or 1.0
        steepness = float(primal_mode(margins[:, None], np.array([0.1])).weights[0])
        scale = max(steepness, 1e-3) / size
        accuracy = stats.accuracy((np.sign(margins) + 1) / 2, clusters=groups)
        reward = LinearReward.of(
            features=features,
            readings=training.readings,
            weights=scale * mean,
            belief=Dense(_precision(rows, scale)),
            metadata={"n": len(pairs), "held_out": accuracy.as_dict()},
        )
        if accuracy.lower is None or accuracy.lower <= 0.5:
            reward.metadata["withheld"] = f"a held-out accuracy of {accuracy}"
        return reward


def _numbers(pairs: Comparisons) -> np.ndarray:
    """Return the number of each pair's prompt, [N]; its own number where all have one prompt."""
    names = [group_of(pair.prompt) for pair in pairs]
    if len(set(names)) == 1:
        names = ["-".join(sorted((pair.chosen.key, pair.rejected.key))) for pair in pairs]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def _separations(rows: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return mean over sd of the mean difference's held-out margins: on all folds, then without
    each in turn, which is for choosing a part that this fold has no say in; [1 + K]."""
    num = int(fold.max()) + 1
    sums = np.array([rows[fold == k].sum(0) for k in range(num)])
    ratios = []
    for skip in range(-1, num if num > 1 else 0):
        used = [k for k in range(num) if k != skip]
        margins = np.concatenate(
            [rows[fold == k] @ sums[[j for j in used if j != k]].sum(0) for k in used]
        )
        spread = float(margins.std())
        ratios.append(float(margins.mean()) / spread if spread > 0 else 0.0)
    return np.array(ratios)


def _precision(rows: np.ndarray, scale: float) -> np.ndarray:
    """Return the Cholesky factor of the precision of `scale` times the mean of the rows; a column
    of zeros (surprisals) is certain to weigh nothing."""
    shut = np.asarray(~rows.any(axis=0))
    open_rows = rows[:, ~shut]
    num, width = open_rows.shape
    share = width / (width + num)
    off = open_rows - open_rows.mean(0) if num > 1 else open_rows
    spread = (1 - share) * (off.T @ off) / max(num - 1, 1)
    spread.flat[:: width + 1] += share * float(np.mean(open_rows**2)) + 1e-12
    inverse = cho_solve(cho_factor(spread, lower=True), np.eye(width)) * (num / scale**2)
    precision = SHUT * np.eye(len(shut))
    precision[np.ix_(~shut, ~shut)] = (inverse + inverse.T) / 2
    return np.asarray(cholesky(precision, lower=True))
