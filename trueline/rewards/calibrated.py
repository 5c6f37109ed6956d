"""Calibrated uncertainty around any head: an interval that keeps its word, and abstention far away.

    uncertainty² = (a std)² + n²,      n = spread · (novelty − 1)₊
    interval     = margin ± q sqrt(8/π + uncertainty²)
    q            = conformal limit of −margin_i / sqrt(8/π + uncertainty_i²) at 1 − α, out of fold
    lower        = mean − k (a std + spread · max((ν − 1)₊, 2 (ν − ν₉₀)₊ + 2 (s − s₉₀)₊)),
                   or the wrapped reward's own bound where that is lower

std and ν are the wrapped reward's; s is by how much surprisals and length alone are more novel than
the usual 1 (five columns drown among a thousand latents, and give an empty answer away); novelty =
ν + s. ν₉₀ and s₉₀ are the training rows' 90th percentiles: beyond them the bound charges twice, and
the usual do not pay for it (benchmarks/calibration.py, `--degenerate`). Between two responses n² is
the sum of both. 8/π is the variance of a rater's own noise where σ(m / sqrt(1 + π v / 8)) is read
as a probit of m (MacKay 1992), so the interval is of what one *rater* would say; it covers a
verdict if it holds a margin that agrees with it. The weight a (at least 1) is the one that makes
out-of-fold verdicts most probable; how n grows they cannot say: it is built in.

Cross-conformal prediction (Vovk 2015, 1208.0806) as in "CV" of Barber et al. 2021 (1905.02928).
Where we differ: (1) one threshold for the final fit on everything instead of a vote of the folds'
fits (CV+), at a K-th of the cost: on worked sums, 90 % were covered where 90 were asked, 86 under
the worst of eight shifts (benchmarks/calibration.py); (2) folds go by prompt group, and groups
weigh alike; (3) where the reward is right more often than 1 − α, q = 0 and every pair is decided.

The mean is the wrapped head's. With less than 1/α − 1 prompts the interval is infinite. Fails where
the reward is wrong inside its data: raters impressed by form are covered, better answers are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trueline.data.comparisons import Comparisons, make_folds
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.features import Features, TrainingDistribution, in_order
from trueline.rewards.protocols import Fitted, Head, MeanStd, Pairs, Rows, Wrapped
from trueline.rng import Rng
from trueline.stats.conformal import conformal_limit, coverage

__all__ = ["Calibrated", "CalibratedReward"]

FOLDS = 5
"""Parts that prompts are held out in; fewer where there are fewer prompts."""
NOISE = 8.0 / np.pi
POSTERIOR = (1.0, 1.5, 2.0, 3.0)
"""Weights of the posterior's std that are tried."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Any head, with a conformally calibrated interval and an abstention rule."""

    head: Head = field(default_factory=Bayesian)
    """The head that learns."""
    alpha: float = 0.1
    """Share of verdicts that the interval may miss."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError("alpha must lie between 0 and 1", got=repr(self))

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> CalibratedReward:
        """Fit the wrapped head on everything, and calibrate it by fits that left prompts out."""
        rows = in_order(comparisons)
        num_groups = len(set(rows.groups))
        if num_groups == 1:
            raise DataError(
                "calibration needs comparisons of at least two prompts",
                got="one",
                do="give more, or fit the head without Calibrated",
            )
        inner = self.head.fit(readings, comparisons, rng=rng)
        reward = CalibratedReward.around(inner, readings, rows)
        (mean, std, far), novelty = np.zeros((3, len(rows))), np.zeros((2, len(rows)))
        log_likelihood = np.zeros(len(POSTERIOR))
        for train, test in make_folds(rows.groups, min(FOLDS, num_groups), rng):
            part, held = rows.take(train), rows.take(test)
            fold = CalibratedReward.around(self.head.fit(readings, part, rng=rng), readings, part)
            ends = readings.rows(held.chosen_keys), readings.rows(held.rejected_keys)
            mean[test], std[test], far[test], novelty[:, test] = fold.sources(readings, *ends)
            for i, a in enumerate(POSTERIOR):
                wider = np.hypot(a * std[test], far[test])
                log_likelihood[i] += np.log(fold.win_probability(mean[test], wider)).sum()
        reward.posterior = POSTERIOR[int(np.round(log_likelihood, 6).argmax())]
        scale = np.sqrt(NOISE + np.hypot(reward.posterior * std, far) ** 2)
        reward.limit = conformal_limit(-mean / scale, self.alpha, clusters=rows.groups)
        reward.novelty_limit = _novelty_limit(reward, mean, novelty)
        half = reward.limit * scale
        found = coverage(mean - half, mean + half, clusters=rows.groups)
        reward.metadata = {
            **reward.inner.metadata,
            "calibration": {
                "alpha": self.alpha,
                "limit": reward.limit if np.isfinite(reward.limit) else None,
                "n": len(rows),
                "coverage": found.covered.as_dict(),
                "decided": found.decided.as_dict(),
            },
        }
        return reward


def _novelty_limit(reward: CalibratedReward, mean: np.ndarray, novelty: np.ndarray) -> float:
    """Return where two such responses are so uncertain that 99 of 100 margins seen would not
    decide between them; no more than 1 % of rows like those fitted on lie beyond."""
    if not np.isfinite(reward.limit) or reward.spread == 0:
        return float(np.inf)
    large = float(np.quantile(np.abs(mean), 0.99)) / max(reward.limit, 1e-12)
    beyond = float(np.sqrt(max(large**2 - NOISE, 0.0) / 2)) / reward.spread
    return max(float(np.quantile(novelty, 0.99)), 1.0 + beyond)


@dataclass(kw_only=True)
class CalibratedReward(Wrapped):
    """Any fitted reward, with the uncertainty of both sources and a calibrated interval."""

    inner: Fitted
    spread: float
    """Standard deviation of the training rows' mean scores."""
    columns: Features | None = None
    usual: TrainingDistribution | None = None
    """Surprisals and length, and where they lay in training; None of a trunk that gives none."""
    posterior: float = 1.0
    """a"""
    most: tuple[float, ...] = (np.inf, np.inf)
    """ν₉₀ and s₉₀."""
    limit: float = 1.0
    """q; infinite where there was too little to calibrate on."""
    novelty_limit: float = np.inf
    """Above it a row is unscored."""
    k: float = 1.0
    """How often `lower` subtracts both, as in the formula."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The wrapped reward's metadata, and under "calibration" what was found."""

    @classmethod
    def around(cls, inner: Fitted, readings: Readings, rows: Comparisons) -> CalibratedReward:
        """Return a reward that was fitted on these rows, before it is calibrated."""
        known = readings.take(readings.rows([r.key for r in rows.responses]))
        scores = inner.score(known)
        reward = cls(inner=inner, spread=float(scores.mean.std()))
        if known.surprisals is not None:
            reward.columns = Features.learn(known, ())
            reward.usual = TrainingDistribution.of(reward.columns.standard(known))
        usual = (scores.novelty, reward._own(known))
        reward.most = tuple(float(np.quantile(each, 0.9)) for each in usual)
        return reward

    def summary(self) -> dict[str, Any]:
        return {**self.inner.summary(), "calibration": self.metadata["calibration"]}

    def with_lower_bound(self, k: float, distance: float = 0.0) -> CalibratedReward:
        """Return the same reward with another k; `distance` can only lower the bound further."""
        return replace(self, k=k, inner=self.inner.with_lower_bound(k, distance))

    def score(self, readings: Readings) -> Scores:
        """Return scores of all N rows; a row too far from the training data is unscored."""
        plain = self.inner.score(readings)
        own = self._own(readings)
        far = self._far(novelty := plain.novelty + own)
        std = np.hypot(self.posterior * plain.std, far)
        sides = zip((plain.novelty, own), self.most, strict=True)
        beyond = 2 * self.spread * sum(np.maximum(each - most, 0.0) for each, most in sides)
        less = self.posterior * plain.std + np.maximum(self._far(plain.novelty), beyond)
        half = self.limit * np.sqrt(NOISE + std**2)
        too_far = plain.scored & (novelty > self.novelty_limit)
        reasons = {
            int(i): f"too unlike what the reward was fitted on: novelty {novelty[i]:.2f}, "
            f"limit {self.novelty_limit:.2f}"
            for i in np.flatnonzero(too_far)
        }
        return replace(
            plain,
            std=std,
            novelty=novelty,
            lower=np.minimum(plain.lower, plain.mean - self.k * less),
            scored=plain.scored & ~too_far,
            reasons={**plain.reasons, **reasons},
            low=plain.mean - half,
            high=plain.mean + half,
        )

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        mean, std, far, _ = self.sources(readings, first_rows, second_rows)
        return mean, np.hypot(self.posterior * std, far)

    def margin_interval(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibrated ends of what a rater would say of each pair, each [M]."""
        mean, uncertainty = self.margin(readings, first_rows, second_rows)
        half = self.limit * np.sqrt(NOISE + uncertainty**2)
        return mean - half, mean + half

    def sources(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, std and n of each pair, each [M], and the novelty of both ends, [2, M]."""
        mean, std = self.inner.margin(readings, first_rows, second_rows)
        ends = np.asarray(first_rows), np.asarray(second_rows)
        sides = map(readings.take, ends)
        novelty = np.stack([self.inner.score(s).novelty + self._own(s) for s in sides])
        far = np.hypot(*self._far(novelty)) * (ends[0] != ends[1])
        return mean, std, far, novelty

    def _own(self, readings: Readings) -> np.ndarray:
        """Return s of each row, [N]; 0 where there are no surprisals."""
        if self.columns is None or self.usual is None:
            return np.zeros(len(readings))
        return np.maximum(self.usual.novelty(self.columns.standard(readings)) - 1.0, 0.0)

    def _far(self, novelty: np.ndarray) -> np.ndarray:
        return np.asarray(self.spread * np.maximum(novelty - 1.0, 0.0))
