"""One reward a group of raters, pooled towards what all share, and what they disagree about.

    r_g(y) = z·(w + u_g),    w ~ N(0, A⁻¹),    u_g ~ N(0, ρ A⁻¹) independently,    ρ by the evidence
    mean over groups: (1/G) Σ_g r_g(y)        worst group: min_g r_g(y)

ρ = 0 is one reward for all, ρ → ∞ one for each; groups of few comparisons stay near the shared one.
It is one Bayesian linear reward on the features (z, s_1 z, …, s_G z) with s_h = 1 for the rater's
own group and 0 elsewhere: hierarchical Bayes by feature augmentation (Daumé III 2007, 0907.1815;
Finkel and Manning 2009). Worst group after MaxMin-RLHF, Chakraborty et al. 2024, 2402.08925.

Where we differ: (1) MaxMin-RLHF fits groups apart and takes the minimum of expected rewards under
a policy; here groups share, and the minimum is taken per response, so that any optimiser can use
it; (2) the mean counts every group the same, whatever its size; (3) doubt: exact (under Laplace)
for the mean; for the minimum it is that of the group that is worst by the means, as if that were
known, so where two groups are near a tie the minimum is stated up to 0.56 standard deviations of
their difference too high (Clark 1961). Groups' rewards are each in nats of their own raters'
log-odds and 0 at the same mean training reading: comparisons say nothing of either's scale or zero,
and the minimum depends on both.

Shapes: N rows, G groups, F features. Fails where groups see different prompts (what one group never
judged it takes from the others), where they differ in few directions (there is one ρ for all), and
for the minimum where groups are known badly: on worked sums the best of 16 by the mean left the
worse-off group 1.15 gold points up, by the minimum 0.87, by one reward for all 0.06
(`benchmarks.aggregation`).

>>> prior = belief_of(np.ones(3), np.zeros((1, 3)), np.zeros(1))
>>> weights = np.array([1.0, -2.0, 2.0])
>>> Joint(names=("a", "b"), scale=np.ones(1), weights=weights, belief=prior).by_group(np.eye(1))
array([[-1.,  3.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards.evidence import MarginalLikelihood, Point, climb
from trueline.rewards.fitted import FittedReward, ordered
from trueline.rewards.laplace import SLICE, Belief, belief_of, dual_mode
from trueline.rewards.nested import pack, prefixed, unpack
from trueline.rewards.protocols import Fitted, Reader
from trueline.rewards.raters import left_out_margins, temperatures
from trueline.rewards.scorer import Reward
from trueline.rewards.search import NOISE_LEVELS
from trueline.rewards.storage import belief_from, belief_to, write_folder
from trueline.rewards.training import Training

__all__ = ["GroupedReward", "Joint", "load", "pooled"]

_WORDS = ("names", "temperatures", "label_noise")
FIRST_GUESS = 0.1
"""ρ from where its climb starts."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """The belief about w and all u_g at once; u_g is held in units of A^-½."""

    names: tuple[str, ...]
    scale: np.ndarray
    """A^-½, [F]."""
    weights: np.ndarray
    """[F + G F]"""
    belief: Belief
    temperatures: dict[str, float] = field(default_factory=dict)
    label_noise: float = 0.0

    def rows(self, z: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Augmented rows [N, F + G F] of Σ_g shares_g r_g(z); shares [G] or [N, G]."""
        s = np.broadcast_to(shares, (len(z), len(self.names)))
        own = ((z * self.scale)[:, None, :] * s[:, :, None]).reshape(len(z), -1)
        return np.hstack([z * s.sum(1, keepdims=True), own])

    def by_group(self, z: np.ndarray) -> np.ndarray:
        """Mean of every group's reward, [N, G]."""
        shared, *own = np.split(self.weights, len(self.names) + 1)
        return np.asarray(z @ np.stack([shared + self.scale * u for u in own], axis=1))

    def std(self, z: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Posterior standard deviation of Σ_g shares_g r_g(z), [N]."""
        return np.asarray(np.sqrt(self.belief.var(self.rows(z, shares))))

    def at(self, evidence: MarginalLikelihood, point: Point) -> Joint:
        """The posterior at these precisions."""
        prior = point.precisions[evidence.owner]
        rows = np.hstack(evidence.blocks)
        belief = belief_of(prior, rows, point.terms.curvature)
        weights = evidence.weights(point)
        return replace(self, weights=weights, belief=belief, label_noise=evidence.label_noise)

    def observe(self, rows: np.ndarray) -> Joint:
        """After more comparisons, as augmented rows (see `FittedReward.update`)."""
        reach = self.belief.times(rows)
        dual, terms, _, _ = dual_mode(
            rows @ reach, offset=rows @ self.weights, label_noise=self.label_noise
        )
        belief = self.belief.observe(rows, terms.curvature)
        return replace(self, weights=self.weights + reach @ dual, belief=belief)


def pooled(
    shared: FittedReward, training: Training, owner: np.ndarray, names: Sequence[str]
) -> tuple[Joint, dict[str, Any]]:
    """The joint belief; `owner` [N] is the group of each comparison. Cost: that of a few fits on
    (1 + G) F features.

    Swaps and temperatures are found anew: to the shared reward whoever wants something else looks
    careless.
    """
    blocks = shared.metadata["blocks"]
    log_prior = np.log([block["precision"] for block in blocks])
    scale = np.exp(-0.5 * log_prior)[shared.features.owners]
    joint = Joint(names=tuple(names), scale=scale, weights=np.zeros(0), belief=shared.belief)
    training.set_temperatures({})
    evidence = _evidence(joint, shared, training, owner)
    point = climb(evidence, evidence.at(np.append(log_prior, -np.log(FIRST_GUESS))), tol=0.1)
    for label_noise in NOISE_LEVELS:
        other = evidence.with_label_noise(label_noise)
        there = climb(other, other.at(point.log_precisions, start=point.mode), tol=0.1)
        if label_noise > shared.label_noise or there.value < point.value:
            break
        evidence, point = other, there
    if shared.temperatures:
        joint = joint.at(evidence, point)
        rows = joint.rows(training.differences(shared.features), np.eye(len(names))[owner])
        free = left_out_margins(rows @ joint.weights, joint.belief.var(rows), point.terms)
        training.set_temperatures(temperatures(free, training.raters))
        warmer = _evidence(joint, shared, training, owner).with_label_noise(evidence.label_noise)
        evidence, point = warmer, warmer.at(point.log_precisions)
    point = climb(evidence, point)
    joint = replace(joint.at(evidence, point), temperatures=training.temperatures)
    *common, own = evidence.power / point.precisions
    # One group's own part of a margin's prior variance over the shared part.
    return joint, {"rho": float(own / sum(common)), "evidence": float(point.value)}


def _evidence(
    joint: Joint, shared: FittedReward, training: Training, owner: np.ndarray
) -> MarginalLikelihood:
    columns = shared.features.owners
    rows = joint.rows(training.differences(shared.features), np.eye(len(joint.names))[owner])
    parts = np.split(rows[:, : len(columns)], np.flatnonzero(np.diff(columns)) + 1, axis=1)
    return MarginalLikelihood([*parts, rows[:, len(columns) :]])


@dataclass(kw_only=True)
class GroupedReward:
    """Rewards of groups under one objective; with one group, exactly the shared reward."""

    shared: Fitted
    """The inner head's, fitted on everybody's comparisons."""
    objective: str
    groups: dict[str, str] = field(default_factory=dict)
    """Rater to group; empty where all are one."""
    joint: Joint | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """Of every rater: group, n, temperature, left-out agreement; and what the pooling found."""

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers read, best first."""
        return self.shared.layers

    @property
    def trunk_fingerprint(self) -> str | None:
        """Of the trunk whose readings it was fitted on."""
        return self.shared.trunk_fingerprint

    def summary(self) -> dict[str, Any]:
        """The metadata in one line of a run's result."""
        names = () if self.joint is None else self.joint.names
        found = {"objective": self.objective, "groups": list(names), **self.metadata}
        return {**self.shared.summary(), "aggregation": found}

    def score(self, readings: Readings) -> Scores:
        """Scores of all N rows under the objective."""
        base = self.shared.score(readings)
        if self.joint is None:
            return base
        mean, std = np.zeros(len(base)), np.zeros(len(base))
        for start in range(0, len(base), SLICE):
            at = start + np.flatnonzero(base.scored[start : start + SLICE])
            z = self._centred(readings.take(at))
            shares = self._shares(z)
            mean[at] = (self.joint.by_group(z) * shares).sum(1)
            std[at] = self.joint.std(z, shares)
        # What the shared reward subtracts beyond its own k std is for novelty.
        k = self.linear.k
        beyond = base.mean - base.lower - k * base.std
        return replace(base, mean=mean, std=std, lower=mean - k * std - beyond)

    def by_group(self, readings: Readings) -> dict[str, Scores]:
        """Every group's own scores."""
        if self.joint is None:
            return {"all": self.shared.score(readings)}
        return {name: self.alone(name).score(readings) for name in self.joint.names}

    def alone(self, group: str) -> GroupedReward:
        """This reward with that one group's wants as its objective."""
        return replace(self, objective=group)

    def margin(
        self,
        readings: Readings,
        first_rows: Sequence[int] | np.ndarray,
        second_rows: Sequence[int] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std of reward(first) − reward(second), each [M]."""
        plain = self.shared.margin(readings, first_rows, second_rows)
        if self.joint is None:
            return plain
        first, second = (self._centred(readings.take(r)) for r in (first_rows, second_rows))
        shares, others = self._shares(first), self._shares(second)
        mean = (self.joint.by_group(first) * shares - self.joint.by_group(second) * others).sum(1)
        rows = self.joint.rows(first, shares) - self.joint.rows(second, others)
        return mean, np.sqrt(self.joint.belief.var(rows))

    def gap_std(
        self, readings: Readings, first_rows: np.ndarray, second_rows: np.ndarray, g: str, h: str
    ) -> np.ndarray:
        """Std of group g's margin less group h's, [M]."""
        assert self.joint is not None
        z = np.subtract(*(self._centred(readings.take(r)) for r in (first_rows, second_rows)))
        names = np.array(self.joint.names)
        return self.joint.std(z, (names == g).astype(float) - (names == h))

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Probability that a rater who wants what the objective says prefers the first, [M]."""
        if self.joint is None:
            return self.shared.win_probability(mean, std)
        return replace(self.linear, label_noise=self.joint.label_noise).win_probability(mean, std)

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place; under several groups only by known raters."""
        if not len(comparisons):
            return
        if self.joint is None:
            return self.shared.update(readings, comparisons)
        first, second, raters = ordered(comparisons)
        owner = owners(raters, self.groups, self.joint.names)
        ends = (self._centred(readings.take(readings.rows(keys))) for keys in (first, second))
        heat = np.array([self.joint.temperatures.get(rater, 1.0) for rater in raters])
        rows = self.joint.rows(
            np.subtract(*ends) * heat[:, None], np.eye(len(self.joint.names))[owner]
        )
        # It refuses what cannot be learnt from, before anything has changed.
        self.shared.update(readings, comparisons)
        self.joint = self.joint.observe(rows)

    def with_lower_bound(self, k: float, distance: float = 0.0) -> GroupedReward:
        """The same reward with another lower bound."""
        return replace(self, shared=self.shared.with_lower_bound(k, distance))

    def save(self, folder: str | Path, *, model: str | None = None) -> None:
        """Write it to a folder, whole or not at all; `model`: where its trunk is found."""
        arrays, inner = pack(self.shared)
        arrays, joint = prefixed("shared", arrays), None
        if self.joint is not None:
            arrays |= {"scale": self.joint.scale, "weights": self.joint.weights}
            arrays |= belief_to("joint", self.joint.belief)
            joint = {name: getattr(self.joint, name) for name in _WORDS}
        words = {
            "kind": "groups",
            "trunk": model,
            "trunk_fingerprint": self.trunk_fingerprint,
            "shared": inner,
            "joint": joint,
            **{name: getattr(self, name) for name in ("objective", "groups", "metadata")},
        }
        write_folder(Path(folder), arrays, words)

    def on(self, trunk: Reader) -> Reward:
        """A scorer of texts: this reward with the trunk that reads them."""
        self.shared.on(trunk)
        return Reward(fitted=self, trunk=trunk)

    @property
    def linear(self) -> FittedReward:
        """The shared reward, where it is linear (always, under several groups)."""
        assert isinstance(self.shared, FittedReward)
        return self.shared

    def _centred(self, readings: Readings) -> np.ndarray:
        return np.asarray(self.linear.features.clipped(readings) - self.linear.reference)

    def _shares(self, z: np.ndarray) -> np.ndarray:
        """How much each group counts for each row, [N, G]."""
        assert self.joint is not None
        num = len(self.joint.names)
        if self.objective == "mean":
            return np.full((len(z), num), 1.0 / num)
        if self.objective == "worst":
            return np.asarray(np.eye(num)[self.joint.by_group(z).argmin(1)])
        return np.tile(np.eye(num)[self.joint.names.index(self.objective)], (len(z), 1))


def owners(raters: Sequence[str], groups: dict[str, str], names: Sequence[str]) -> np.ndarray:
    """Number of each comparison's group, [N]."""
    strangers = sorted({rater for rater in raters if rater not in groups})
    if strangers:
        raise DataError(
            "every rater must have a group",
            got=f"none for {', '.join(strangers[:5])}",
            do="name them in groups, or aggregate with groups='none'",
        )
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[groups[rater]] for rater in raters])


def load(arrays: dict[str, np.ndarray], words: dict[str, Any]) -> GroupedReward:
    """The reward of a folder's content."""
    joint = None
    if words["joint"] is not None:
        belief = belief_from("joint", arrays)
        own = {**words["joint"], "names": tuple(words["joint"]["names"])}
        joint = Joint(scale=arrays["scale"], weights=arrays["weights"], belief=belief, **own)
    kept = {name: words[name] for name in ("objective", "groups", "metadata")}
    return GroupedReward(shared=unpack("shared", arrays, words["shared"]), joint=joint, **kept)
