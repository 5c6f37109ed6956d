"""Small networks on the trunk's readings whose disagreement is the doubt: the non-linear head.

    r_m(y) = f_m(x(y)) − mean of f_m over the training rows      f_m: linear + tanh units, `members`
    mean = mean over m,    std = sd over m (of margins too),    all M trained in one pass

Deep ensembles after Lakshminarayanan et al. 2017 (1612.01474); of reward models, Coste et al. 2024
(2310.02743); as small networks on embeddings, Sun et al. 2025 (2502.04357).

Where we differ: (1) members differ by their first layers and by the prompt groups they have drawn,
and those not drawn stop them; (2) a linear fit by evidence (`bayesian`) goes before, and chooses
the layers, how much each block of features counts (x is scaled by its prior sd, at least 0.1 of the
largest), the strength of the prior, raters' temperatures; (3) no share of swapped labels: what a
linear reward cannot say looks swapped to it, and on its word the networks stayed linear;
(4) `update` moves only the last layers, by Newton's method with their Laplace posteriors as priors,
every comparison counted Poisson(1) times for each member (online bagging, Oza and Russell 2001).

Shapes: N rows, M members. Units: nats of log-odds.
Fails where no layer holds anything linear for the evidence to find; where the reward is linear and
labels are noisy it is a little behind the linear head (`benchmarks/ensemble.py`); with comparisons
of a few prompts, which all members have drawn, std is too small; and all members read one trunk,
whose errors they share, so std knows nothing of those.

>>> Ensemble(members=5).hidden
32
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trueline.data.comparisons import group_of
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.fitted import FittedReward, ordered
from trueline.rewards.laplace import SLICE, Belief, belief_of, bradley_terry, dual_mode
from trueline.rewards.members import Members, Pairs, Penalty, draw, resample, train
from trueline.rewards.nested import pack, prefixed, unpack
from trueline.rewards.protocols import Reader
from trueline.rewards.scorer import Reward
from trueline.rewards.storage import belief_from, belief_to, write_folder
from trueline.rewards.training import Training
from trueline.rng import stream

__all__ = ["Ensemble", "EnsembleReward", "load"]

LEAST = 0.1
"""Of the largest block's scale; what the linear fit switched off may matter all the same."""
NONLINEAR = 2.0
"""Prior variance of the tanh part over that of the linear part."""
UNIT_POWER = 0.4
"""Mean square of a tanh unit before training."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """M small networks; its fields are its configuration."""

    members: int = 8
    """How many, at least 2."""
    hidden: int = 32
    """tanh units in each."""
    layer: int | str = "evidence"
    """A layer of the trunk, or "evidence" to let a linear fit choose."""
    pooling: str = "evidence"
    """As in `Bayesian`."""
    num_layers: int = 4
    """As in `Bayesian`: at most this many are read together, and time grows with them."""

    def __post_init__(self) -> None:
        if self.members < 2 or self.hidden < 1:
            raise InputError("there must be at least 2 members and 1 hidden unit", got=repr(self))

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> EnsembleReward:
        """All members at once, on these comparisons, all of whose responses have been read."""
        started = time.perf_counter()
        base = Bayesian(
            layer=self.layer, pooling=self.pooling, num_layers=self.num_layers, label_noise=0.0
        )
        linear = base.fit(readings, comparisons, rng=rng)
        training = Training.of(readings, comparisons)
        training.set_temperatures(linear.temperatures)
        alphas = np.array([b["precision"] for b in linear.metadata["blocks"]])[
            linear.features.owners
        ]
        scale = np.maximum(np.sqrt(alphas.min() / alphas), LEAST)
        x = linear.features.clipped(training.readings).astype(np.float32) * scale.astype(np.float32)
        group = {c.chosen.key: group_of(c.prompt) for c in comparisons}
        groups = [group[training.readings.keys[row]] for row in training.chosen]
        counts = resample(groups, self.members, rng)
        pairs = Pairs.of(training.chosen, training.rejected, training.heat, counts)
        power = float((scale**2).sum())
        # Where the evidence wants no linear part, the other is still free to be of size 1.
        outer = self.hidden * UNIT_POWER / (NONLINEAR * max(power / alphas.min(), 1.0))
        penalty = Penalty(float(alphas.min()), outer, power)
        start = draw(x, self.members, self.hidden, rng)
        members, loss, steps = train(x, pairs, start, penalty, rng)
        reward = EnsembleReward.of(linear, scale, members, x, pairs, penalty)
        reward.metadata = {
            "head": "ensemble",
            "spec": asdict(self),
            "left_out_loss": float(loss.mean()),
            "steps": steps.tolist(),
            "fit_s": time.perf_counter() - started,
        }
        return reward


@dataclass(kw_only=True)
class EnsembleReward:
    """M networks, with a Gaussian belief about each one's last layer for updates."""

    linear: FittedReward
    """What went before: it holds features, novelty, temperatures and k."""
    scale: np.ndarray
    """Of the winsorised features, [F]."""
    members: Members
    beliefs: tuple[Belief, ...]
    """Of each member's last layer, over H + 1 weights."""
    reference: np.ndarray
    """Mean of `members.top` over the training rows, [M, H + 1]."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        linear: FittedReward,
        scale: np.ndarray,
        members: Members,
        x: np.ndarray,
        pairs: Pairs,
        penalty: Penalty,
    ) -> EnsembleReward:
        """With reference point and beliefs taken from the training rows."""
        tops = np.concatenate([members.top(x[i : i + SLICE]) for i in range(0, len(x), SLICE)])
        rows = (tops[pairs.first] - tops[pairs.second]) * pairs.sign[:, None, None]
        size = penalty.linear * np.square(members.linear).sum(0)
        beliefs = []
        for m, weights in enumerate(members.outer):
            prior = np.append(np.full(len(weights) - 1, penalty.outer), max(size[m], 1e-6))
            terms = bradley_terry(rows[:, m] @ weights)
            beliefs.append(belief_of(prior, rows[:, m], terms.curvature * pairs.counts[m]))
        return cls(
            linear=linear,
            scale=scale,
            members=members,
            beliefs=tuple(beliefs),
            reference=tops.mean(0),
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers read, best first."""
        return self.linear.layers

    @property
    def trunk_fingerprint(self) -> str | None:
        """Of the trunk whose readings it was fitted on."""
        return self.linear.trunk_fingerprint

    def summary(self) -> dict[str, Any]:
        """The metadata in one line of a run's result."""
        kept = {name: self.metadata.get(name) for name in ("left_out_loss", "steps", "fit_s")}
        return {**self.linear.summary(), "members": len(self.members.outer), **kept}

    def with_lower_bound(self, k: float, distance: float = 0.0) -> EnsembleReward:
        """The same reward with another lower bound."""
        return replace(self, linear=self.linear.with_lower_bound(k, distance))

    def score(self, readings: Readings) -> Scores:
        """Scores of all N rows, relative to the reference point."""
        base = self.linear.score(readings)
        each = self._each(readings)
        mean, std = each.mean(1), each.std(1, ddof=1)
        # What the linear reward subtracts beyond its own k std is for novelty.
        k = self.linear.k
        beyond = base.mean - base.lower - k * base.std
        return replace(base, mean=mean, std=std, lower=mean - k * std - beyond)

    def margin(
        self,
        readings: Readings,
        first_rows: Sequence[int] | np.ndarray,
        second_rows: Sequence[int] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd over members of r_m(first) − r_m(second), each [M]."""
        self.linear.margin(readings, first_rows, second_rows)
        rows, place = np.unique(np.concatenate([first_rows, second_rows]), return_inverse=True)
        first, second = np.split(self._each(readings.take(rows))[place], 2)
        return (first - second).mean(1), (first - second).std(1, ddof=1)

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """As of the linear reward, its doubt averaged over."""
        return self.linear.win_probability(mean, std)

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place, with the last layers only."""
        if not len(comparisons):
            return
        first, second, raters = ordered(comparisons)
        gaps = self._top(readings.take(readings.rows(first)))
        gaps = gaps - self._top(readings.take(readings.rows(second)))
        if not np.isfinite(gaps).all():
            raise DataError("readings of comparisons must be finite", got="NaN or inf")
        heat = [self.linear.temperatures.get(rater, 1.0) for rater in raters]
        gaps *= np.array(heat)[:, None, None]
        names = [(min(a, b), max(a, b), r) for a, b, r in zip(first, second, raters, strict=True)]
        num = len(self.beliefs)
        counts = np.array([stream(0, "online bagging", *n).poisson(1.0, num) for n in names])
        outer, beliefs = self.members.outer.copy(), list(self.beliefs)
        for m, belief in enumerate(self.beliefs):
            rows = np.repeat(gaps[:, m], counts[:, m], axis=0)
            if not len(rows):
                continue
            reach = belief.times(rows)
            dual, terms, _, _ = dual_mode(rows @ reach, offset=rows @ outer[m])
            outer[m] += reach @ dual
            beliefs[m] = belief.observe(rows, terms.curvature)
        self.members, self.beliefs = replace(self.members, outer=outer), tuple(beliefs)
        self.linear.metadata["n"] = self.linear.metadata.get("n", 0) + len(raters)
        self.metadata["updates"] = self.metadata.get("updates", 0) + 1

    def save(self, folder: str | Path, *, model: str | None = None) -> None:
        """Write it to a folder, whole or not at all; `model`: where its trunk is found."""
        arrays, words = pack(self.linear)
        arrays = prefixed("linear", arrays)
        arrays |= prefixed("members", vars(self.members))
        arrays |= {"scale": self.scale, "reference": self.reference}
        for m, belief in enumerate(self.beliefs):
            arrays |= belief_to(f"belief{m}", belief)
        about = {"kind": "ensemble", "trunk": model, "trunk_fingerprint": self.trunk_fingerprint}
        write_folder(Path(folder), arrays, {**about, "linear": words, "metadata": self.metadata})

    def on(self, trunk: Reader) -> Reward:
        """A scorer of texts: this reward with the trunk that reads them."""
        self.linear.on(trunk)
        return Reward(fitted=self, trunk=trunk)

    def _top(self, readings: Readings) -> np.ndarray:
        return self.members.top(self.linear.features.clipped(readings) * self.scale)

    def _each(self, readings: Readings) -> np.ndarray:
        """r_m of each row, [N, M]; rows that are not finite come out as 0."""
        out = [np.zeros((0, len(self.beliefs)))]
        for part in readings.slices(SLICE):
            top = self._top(part) - self.reference
            each = np.einsum("rmh,mh->rm", top, self.members.outer)
            out.append(np.where(np.isfinite(each), each, 0.0))
        return np.concatenate(out)


def load(arrays: dict[str, np.ndarray], words: dict[str, Any]) -> EnsembleReward:
    """The reward of a folder's content."""
    names = ("inner", "bias", "linear", "outer")
    members = Members(**{name: arrays[f"members.{name}"] for name in names})
    linear = unpack("linear", arrays, words["linear"])
    assert isinstance(linear, FittedReward)
    return EnsembleReward(
        linear=linear,
        scale=arrays["scale"],
        members=members,
        beliefs=tuple(belief_from(f"belief{m}", arrays) for m in range(len(members.outer))),
        reference=arrays["reference"],
        metadata=words["metadata"],
    )
