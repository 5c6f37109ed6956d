"""Small random networks on top of the linear reward, whose disagreement joins its std.

    r_m(y) = a_m ℓ(y) + v_m·tanh(W_m x(y) + b_m)        ℓ: the linear reward, W_m and b_m at random
    mean   = mean over m
    std²   = mean over m of (a_m² var ℓ + var of a_m, v_m)  +  variance over m of r_m

Each member is Bradley–Terry on H random features (Rahimi and Recht 2007) and the linear reward's
left-out margin, with one prior precision each by the evidence: where nothing but the linear part
helps, the rest is switched off. Ensembles of reward models: Coste et al. 2024 (2310.02743); small
networks on embeddings: Sun et al. 2025 (2502.04357).

Where we differ: (1) first layers are drawn and not trained, so a member is a convex problem,
solved as the linear reward's is (`evidence`), without steps, rates or stopping; (2) the linear fit
goes before and chooses layers and how much each block of features counts (x is scaled
by its prior sd, at least 0.1 of the largest); (3) std is the law of total variance and not
disagreement alone, which knows nothing where no member has been (Lakshminarayanan et al. 2017).

Shapes: N rows, F features, M members, H hidden units. Units: nats of log-odds. At most 20,000
comparisons are looked at for the members. Fails where no layer holds
anything linear for the evidence to find; and all members read one trunk, whose errors they share.

>>> Ensemble(members=5).hidden
256
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards.bayesian import SAMPLE, Bayesian
from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.laplace import (
    SLICE,
    Belief,
    belief_of,
    bradley_terry,
    left_out_margins,
    observed,
)
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Rows, Wrapped
from trueline.rewards.saved import restore_inner
from trueline.rewards.storage import belief_from, belief_to
from trueline.rewards.training import Training, ordered

__all__ = ["Ensemble", "EnsembleReward"]

LEAST = 0.1
"""Of the largest block's scale; what the linear fit switched off may matter all the same."""
GAIN = 2.0
"""Size of a hidden unit's input: far enough into tanh's bend for products to show."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """M small networks; its fields are its configuration."""

    members: int = 4
    """How many networks, at least 2."""
    hidden: int = 256
    """tanh units in each."""
    layer: int | str = "evidence"
    """A layer of the trunk, or "evidence" to let a linear fit choose."""
    pooling: str = "evidence"
    """As in `Bayesian`."""
    num_layers: int = 4
    """As in `Bayesian`: at most this many are read together."""

    def __post_init__(self) -> None:
        if self.members < 2 or self.hidden < 1:
            raise InputError("there must be at least 2 members and 1 hidden unit", got=repr(self))

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> EnsembleReward:
        """Return the linear fit with all members, whose first layers `rng` draws."""
        started = time.perf_counter()
        # To a line with label noise, what is not linear looks like flipped labels.
        head = Bayesian(
            layer=self.layer, pooling=self.pooling, num_layers=self.num_layers, label_noise=0.0
        )
        linear = head.fit(readings, comparisons, rng=rng)
        training = Training.of(readings, comparisons).sample(SAMPLE)
        blocks = [block["precision"] for block in linear.metadata["blocks"]]
        alphas = np.array(blocks)[linear.features.owners]
        scale = np.maximum(np.sqrt(alphas.min() / alphas), LEAST)
        size = np.sqrt(np.mean((linear.features.clipped(training.readings) * scale) ** 2))
        size = max(float(size) * np.sqrt(len(scale)), 1e-6)
        units = self.members * self.hidden
        reward = EnsembleReward(
            inner=linear,
            scale=scale,
            hidden=(rng.standard_normal((len(scale), units)) * GAIN / size).astype(np.float32),
            bias=rng.uniform(-GAIN, GAIN, units),
            reference=np.zeros(units),
            outer=np.zeros((self.members, self.hidden + 1)),
            beliefs=(),
        )
        reward.reference = reward.units(training.readings).mean(0)
        evidence = reward.learn(training)
        reward.metadata = {
            "head": "ensemble",
            "spec": asdict(self),
            "evidence": evidence,
            "fit_s": time.perf_counter() - started,
        }
        return reward


@dataclass(kw_only=True)
class EnsembleReward(Wrapped, kind="ensemble"):
    """M networks, with a Gaussian belief about each one's last layer."""

    inner: LinearReward
    """ℓ; it holds features, novelty and k."""
    scale: np.ndarray
    """Of the winsorised features, [F]."""
    hidden: np.ndarray
    """W of all members, float32 [F, M H]."""
    bias: np.ndarray
    """b, [M H]."""
    reference: np.ndarray
    """Mean of the units over the training rows, [M H]."""
    outer: np.ndarray
    """a and v, [M, 1 + H]."""
    beliefs: tuple[Belief, ...]
    """Of each member's a and v."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def learn(self, training: Training) -> list[float]:
        """Fit all last layers; return each one's log evidence."""
        ends = (training.readings.take(rows) for rows in (training.chosen, training.rejected))
        tops = np.subtract(*(self._tops(end, np.zeros(len(end))) for end in ends))
        tops[:, :, 0] = self._left_out(training)
        owner = np.minimum(np.arange(tops.shape[2]), 1)
        values, beliefs = [], []
        for m in range(len(tops)):
            evidence = MarginalLikelihood(tops[m], owner)
            point = climb(evidence)
            point = evidence.at(point.log_precisions, start=point.mode, tol=1e-10)
            self.outer[m] = evidence.weights(point)
            prior = point.precisions[owner]
            beliefs.append(belief_of(prior, evidence.rows, point.terms.curvature))
            values.append(float(point.value))
        self.beliefs = tuple(beliefs)
        return values

    def summary(self) -> dict[str, Any]:
        """Return the metadata that a run's result shows."""
        own = {"members": len(self.outer), "member_evidence": self.metadata.get("evidence")}
        return {**self.inner.summary(), **own, "fit_s": self.metadata.get("fit_s")}

    def score(self, readings: Readings) -> Scores:
        """Return scores of all N rows, relative to the reference point."""
        return self.rescored(
            readings,
            self.inner.k,
            lambda part, mean, std: self._moments(self._tops(part, mean), std),
        )

    def margin(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and std of reward(first) − reward(second), each [M]."""
        mean, std = self.inner.margin(readings, first_rows, second_rows)
        ends = (readings.take(rows) for rows in (first_rows, second_rows))
        tops = np.subtract(*(self._tops(end, np.zeros(len(end))) for end in ends))
        tops[:, :, 0] = mean
        return self._moments(tops, std)

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place: the linear part, then last layers beside it."""
        if not len(comparisons):
            return
        self.inner.update(readings, comparisons)
        first, second, _ = ordered(comparisons)
        ends = (readings.take(readings.rows(keys)) for keys in (first, second))
        tops = np.subtract(*(self._tops(end, self.inner.score(end).mean) for end in ends))
        beliefs = []
        for m, (rows, belief) in enumerate(zip(tops, self.beliefs, strict=True)):
            self.outer[m], belief = observed(self.outer[m], belief, rows)
            beliefs.append(belief)
        self.beliefs = tuple(beliefs)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its arrays by name, for saving."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for m, belief in enumerate(self.beliefs):
            arrays |= belief_to(f"belief{m}", belief)
        return arrays

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> EnsembleReward:
        """Return the reward of these arrays and words."""
        inner = restore_inner(arrays, words)
        assert isinstance(inner, LinearReward)
        own: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        beliefs = tuple(belief_from(f"belief{m}", arrays) for m in range(len(own["outer"])))
        return cls(inner=inner, beliefs=beliefs, metadata=words["metadata"], **own)

    def units(self, readings: Readings) -> np.ndarray:
        """Return the hidden units of all members, [N, M H]."""
        parts = [np.zeros((0, len(self.bias)))]
        for part in readings.slices(SLICE):
            x = self.inner.features.clipped(part) * self.scale
            parts.append(np.tanh(x @ self.hidden + self.bias))
        return np.concatenate(parts)

    def _tops(self, readings: Readings, linear: np.ndarray) -> np.ndarray:
        """Return what the last layers add up, [M, N, 1 + H]."""
        members, num = len(self.outer), len(readings)
        units = (self.units(readings) - self.reference).reshape(num, members, -1)
        first = np.broadcast_to(linear[:, None, None], (num, members, 1))
        return np.concatenate([first, units], axis=2).transpose(1, 0, 2)

    def _left_out(self, training: Training) -> np.ndarray:
        """Return the linear reward's margin of each training pair by all the others, [N]: its own
        margins have bent to the labels, and would leave the members nothing to be judged by."""
        rows = training.differences(self.inner.features)
        margins = rows @ self.inner.weights
        terms = bradley_terry(margins)
        return left_out_margins(margins, self.inner.belief.var(rows), terms)

    def _moments(self, tops: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and std over members of these rows; `std`: of the linear part, [N]."""
        each = np.stack([rows @ own for rows, own in zip(tops, self.outer, strict=True)])
        pairs = zip(tops, self.beliefs, strict=True)
        inside = np.mean([belief.var(rows) for rows, belief in pairs], axis=0)
        linear = np.mean(self.outer[:, 0] ** 2) * std**2
        return each.mean(0), np.sqrt(linear + inside + each.var(0, ddof=1))


_ARRAYS = ("scale", "hidden", "bias", "reference", "outer")
