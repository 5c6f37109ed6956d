"""One reward a group of raters, pooled towards what all share; their mean, or the worst of them.

    r_g(y) = z·(w + u_g),    w ~ N(0, A⁻¹),    u_g ~ N(0, ρ A⁻¹) independently,    ρ by the evidence
    mean over groups: (1/G) Σ_g r_g(y)        worst group: min_g r_g(y)

ρ = 0 is one reward for all, ρ → ∞ one for each. It is one Bayesian linear reward on the features
(z, s_1 z, …, s_G z) with s_h = 1 for the rater's own group and 0 elsewhere: hierarchical Bayes by
feature augmentation (Daumé III 2007, 0907.1815; Finkel and Manning 2009). Worst group after
MaxMin-RLHF, Chakraborty et al. 2024, 2402.08925.

Where we differ: (1) MaxMin-RLHF fits groups apart and takes the minimum of expected rewards under
a policy; here groups share, and the minimum is taken per response, so that any optimiser can use
it; (2) the mean counts every group the same, whatever its size; (3) the std of the minimum is that
of the group that is worst by the means, so near a tie of two the minimum is stated up to 0.56
standard deviations of their difference too high (Clark 1961). Each group's reward is in nats of its
own raters' log-odds and 0 at the mean training reading, and the minimum depends on both.

Shapes: N rows, G groups, F features. Fails where groups see different prompts (what one group never
judged it takes from the others), where they differ in few directions (there is one ρ for all), and
for the minimum where groups are known badly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.features import Training
from trueline.rewards.laplace import Belief
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Fitted, Head, MeanStd, Pairs, Rows, Wrapped
from trueline.rng import Rng

__all__ = ["GroupedReward", "Groups"]

FIRST_GUESS = 0.1
"""ρ from where its climb starts."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Any head, for raters of groups that want different things."""

    head: Head = field(default_factory=Bayesian)
    """The head that learns what all share: linear (`Bayesian`, or `Conservative` of it) where
    there are several groups."""
    raters: dict[str, str] = field(default_factory=dict)
    """Rater to group; empty: all raters are one group, and this is the inner head."""
    objective: Literal["mean", "worst"] = "mean"
    """What is scored: the groups' mean reward, or the worst of them."""

    def __post_init__(self) -> None:
        if self.objective not in ("mean", "worst"):
            raise InputError('objective must be "mean" or "worst"', got=repr(self.objective))
        if {"mean", "worst"} & set(self.raters.values()):
            raise InputError('no group may be called "mean" or "worst"', got="one that is")

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Fitted:
        """Return the groups' rewards under the objective; of one group, what the head learns.
        `DataError` where a rater has no group, `InputError` where the head is not linear."""
        strangers = sorted({c.rater for c in comparisons} - set(self.raters))
        if self.raters and strangers:
            raise DataError(
                "every rater must have a group",
                got=f"none for {', '.join(strangers[:5])}",
                do="name them in raters, or leave raters empty",
            )
        inner = self.head.fit(readings, comparisons, rng=rng)
        names = tuple(sorted({self.raters[c.rater] for c in comparisons} if self.raters else ()))
        if len(names) < 2:
            return inner
        if not isinstance(inner, LinearReward) or "precision" not in inner.metadata:
            raise InputError(
                "groups need a head with a linear reward and precisions of its own",
                got=type(self.head).__name__,
                do="group Bayesian or Conservative",
            )
        training = Training.of(readings, comparisons)
        owner = np.array([names.index(self.raters[rater]) for rater in training.raters])
        return _pooled(inner, training, owner, names, self.objective)


def _pooled(
    shared: LinearReward,
    training: Training,
    owner: np.ndarray,
    names: tuple[str, ...],
    objective: str,
) -> GroupedReward:
    """Return the joint belief; `owner` [N] is the group of each comparison.

    Cost: that of a few fits on (1 + G) F features.
    """
    log_prior = np.log(list(shared.metadata["precision"].values()))
    owners = shared.features.owners
    scale = np.exp(-0.5 * log_prior)[owners]
    columns = np.append(owners, np.full(len(names) * len(scale), len(log_prior)))

    rows = _augmented(training.differences(shared.features), np.eye(len(names))[owner], scale)
    evidence = MarginalLikelihood(rows, columns)
    point = climb(evidence, evidence.at(np.append(log_prior, -np.log(FIRST_GUESS))))
    if shared.label_noise:
        # To the shared reward, whoever wants something else looks flipped: it is asked again.
        noisy = evidence.with_label_noise(shared.label_noise)
        there = climb(noisy, noisy.at(point.log_precisions, start=point.mode))
        if there.value > point.value:
            evidence, point = noisy, there
    weights, belief = evidence.posterior(point)
    *common, own = evidence.power / point.precisions
    # One group's own part of a margin's prior variance over the shared part.
    found = {"rho": float(own / sum(common)), "evidence": float(point.value)}
    return GroupedReward(
        inner=shared,
        objective=objective,
        names=names,
        scale=scale,
        weights=weights,
        belief=belief,
        label_noise=evidence.label_noise,
        metadata={"pooling": found},
    )


def _augmented(z: np.ndarray, shares: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return rows [N, F + G F] of Σ_g shares_g r_g(z); shares [N, G]."""
    own = ((z * scale)[:, None, :] * shares[:, :, None]).reshape(len(z), -1)
    return np.hstack([z * shares.sum(1, keepdims=True), own])


@dataclass(kw_only=True)
class GroupedReward(Wrapped):
    """Rewards of several groups under one objective: a belief about w and all u_g at once."""

    inner: LinearReward
    """The head's, fitted on everybody's comparisons."""
    objective: str
    """"mean", "worst", or a group's name."""
    names: tuple[str, ...]
    scale: np.ndarray
    """A^-½, [F]: what u_g is held in units of."""
    weights: np.ndarray
    """[F + G F]"""
    belief: Belief
    label_noise: float
    metadata: dict[str, Any]
    """What the pooling found."""

    def summary(self) -> dict[str, Any]:
        own = {"objective": self.objective, "groups": list(self.names), **self.metadata}
        return {**self.inner.summary(), "groups": own}

    def score(self, readings: Readings) -> Scores:
        def moments(part: Readings, *_: np.ndarray) -> MeanStd:
            mean, rows = self._parts(part)
            return mean, np.sqrt(self.belief.var(rows))

        return self.inner.score(readings, moments)

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        self.inner.margin(readings, first_rows, second_rows)  # refuses what is not scored
        ends = (self._parts(readings.take(rows)) for rows in (first_rows, second_rows))
        mean, rows = (first - second for first, second in zip(*ends, strict=True))
        return mean, np.sqrt(self.belief.var(rows))

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return replace(self.inner, label_noise=self.label_noise).win_probability(mean, std)

    def _parts(self, readings: Readings) -> tuple[np.ndarray, np.ndarray]:
        """Return means [N] under the objective, and the augmented rows whose variance is theirs."""
        z = self.inner.features.clipped(readings) - self.inner.reference
        num = len(self.names)
        shared, *own = np.split(self.weights, num + 1)
        by_group = z @ np.stack([shared + self.scale * u for u in own], axis=1)
        if self.objective == "mean":
            shares = np.full((len(z), num), 1.0 / num)
        elif self.objective == "worst":
            shares = np.eye(num)[by_group.argmin(1)]
        else:
            shares = np.tile(np.eye(num)[self.names.index(self.objective)], (len(z), 1))
        return (by_group * shares).sum(1), _augmented(z, shares, self.scale)
