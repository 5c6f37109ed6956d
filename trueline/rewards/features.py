"""What a fit works on: columns of readings on one scale, and comparisons as rows of them.

    z = clip((x − mean) / sd, −c, c)      mean and sd over the training rows, c = `winsor`
    novelty ν = sqrt(xᵀ C⁻¹ x) / typical,      C = (1 − ρ) cov(x) + ρ I,      ρ = F / (F + N)

The parts are the five surprisal columns (where the trunk gives any), then the pools of one layer
after another, the most probable layer first. Standardising makes one prior precision mean the same
in every part; winsorising (after Charles Winsor; Dixon 1960) keeps one outlying token or length
from buying an unbounded reward, which is how best-of-n finds the holes of a linear head.

Novelty (Mahalanobis 1936) looks at standardised features before clipping, which would hide what is
new. `typical` is the median distance of a training row from the others (left out of C in closed
form), so that 1 means "as far as an answer of that kind usually is". Where we differ: the shrinkage
ρ grows with features over rows instead of being estimated.

Comparisons stand in an order that depends on their content alone, neither on the order they came in
nor on who won, so that a fit repeats, and reverses with its labels, to the last bit.

Shapes: N rows or comparisons, F = 5 + layers x pools x D features, float64. `standard` is z before
clipping. Fails where a column is constant in training: it then stays 0 whatever it does later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.laplace import SLICE, Belief, belief_of
from trueline.rewards.protocols import Pairs
from trueline.rewards.storage import stored

__all__ = ["Features", "Part", "Training", "TrainingDistribution", "in_order"]

Part = tuple[int, str]
"""Layer and pooling."""


@stored
@dataclass(frozen=True)
class Features:
    """Standardised, winsorised columns of a reading."""

    parts: tuple[Part, ...]
    """(layer, pooling), best layer first."""
    width: int
    """D of the trunk."""
    surprisals: bool
    center: np.ndarray
    """[F]"""
    scale: np.ndarray
    """[F]"""
    winsor: float

    @classmethod
    def learn(cls, readings: Readings, parts: tuple[Part, ...], *, winsor: float = 2.0) -> Features:
        """Take mean and sd of these parts over all rows given."""
        sums = [_columns(part, parts).sum(0) for part in readings.slices(SLICE)]
        center = np.sum(sums, axis=0) / len(readings)
        squares = [((_columns(p, parts) - center) ** 2).sum(0) for p in readings.slices(SLICE)]
        scale = np.sqrt(np.sum(squares, axis=0) / len(readings))
        # Float32 latents that are equal come out with a sd of rounding size, not of zero.
        flat = scale <= 1e-6 * (np.abs(center) + 1e-6)
        return cls(
            parts=parts,
            width=readings.width,
            surprisals=readings.surprisals is not None,
            center=center,
            scale=np.where(flat, np.inf, scale),
            winsor=winsor,
        )

    @property
    def owners(self) -> np.ndarray:
        """Number of the block that each column belongs to, [F]; surprisals are block 0."""
        widths = ([5] if self.surprisals else []) + [self.width] * len(self.parts)
        return np.repeat(np.arange(len(widths)), widths)

    @property
    def names(self) -> tuple[str, ...]:
        """What each block is called, in the order of `owners`."""
        parts = tuple(f"layer {layer} {pooling}" for layer, pooling in self.parts)
        return ("surprisals", *parts) if self.surprisals else parts

    @property
    def num_near(self) -> int:
        """How many columns, the first ones, novelty is measured in: surprisals and best layer."""
        pools = sum(layer == self.parts[0][0] for layer, _ in self.parts)
        return 5 * self.surprisals + pools * self.width

    def standard(self, readings: Readings) -> np.ndarray:
        """Return standardised columns, not yet clipped, [N, F]; rows that are not finite are NaN;
        `InputError` where the readings have another width, or lack surprisals, or have them."""
        has = readings.surprisals is not None
        if (readings.width, has) != (self.width, self.surprisals):
            must = f"readings must have width {self.width}, surprisals: {self.surprisals}"
            do = "read the responses with the trunk the reward was fitted on"
            raise InputError(must, got=f"width {readings.width}, surprisals: {has}", do=do)
        out = _columns(readings, self.parts)
        broken = ~np.isfinite(out).all(1)
        out -= self.center
        out /= self.scale
        out[broken] = np.nan
        return out

    def clip(self, standard: np.ndarray) -> np.ndarray:
        """Return winsorised columns: what the reward is linear in."""
        return np.asarray(np.clip(standard, -self.winsor, self.winsor))

    def clipped(self, readings: Readings) -> np.ndarray:
        """Return both steps at once, [N, F]."""
        return self.clip(self.standard(readings))


@stored
@dataclass(frozen=True)
class TrainingDistribution:
    """Where the training readings lie, for novelty."""

    shape: Belief
    """Its covariance is C⁻¹, over the best layer's columns."""
    typical: float

    @classmethod
    def of(cls, standard: np.ndarray) -> TrainingDistribution:
        """Estimate it from standardised training rows [N, F]."""
        num_rows, width = standard.shape
        shrink = width / (width + num_rows)
        each = (1.0 - shrink) / num_rows
        shape = belief_of(np.full(width, shrink), standard, np.full(num_rows, each))
        inside = shape.var(standard)
        left_out = inside / np.maximum(1.0 - each * inside, 1e-6)
        return cls(shape, max(float(np.sqrt(np.median(left_out))), 1e-12))

    def novelty(self, standard: np.ndarray) -> np.ndarray:
        """Return the distance of each row [N, F] over the typical distance."""
        return np.asarray(np.sqrt(self.shape.var(standard)) / self.typical)


def _columns(readings: Readings, parts: tuple[Part, ...]) -> np.ndarray:
    blocks = [] if readings.surprisals is None else [readings.surprisals]
    width = readings.width
    blocks += [readings.features(layer, pooling)[:, :width] for layer, pooling in parts]
    return np.concatenate(blocks, axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Training:
    """The training rows of a fit, in an order that depends on their content only."""

    readings: Readings
    ends: np.ndarray
    """Rows of the chosen and of the rejected, [2, N]."""
    raters: tuple[str, ...]
    offset: np.ndarray | float = 0.0
    """[N]: what another reward says of the margins already, which is not learned again."""

    @classmethod
    def of(cls, readings: Readings, comparisons: Pairs) -> Training:
        """Find the readings of these comparisons; `DataError` where there is none, a response was
        not read, or a reading is not finite."""
        if not len(comparisons):
            raise DataError("a reward needs at least one comparison", got="none")
        pairs = in_order(comparisons)
        used = readings.take(readings.rows(sorted(r.key for r in pairs.responses)))
        finite = np.isfinite(used.latents).all(axis=(1, 2, 3))
        if used.surprisals is not None:
            finite &= np.isfinite(used.surprisals).all(axis=1)
        if not finite.all():
            raise DataError(
                "readings of comparisons must be finite",
                got=f"NaN or inf in {int((~finite).sum())} of {len(finite)} rows",
                do="check the trunk's dtype, or leave those rows out",
            )
        ends = np.stack([used.rows(pairs.chosen_keys), used.rows(pairs.rejected_keys)])
        return cls(used, ends, tuple(pair.rater for pair in pairs))

    def sample(self, size: int) -> Training:
        """Return about `size` of the comparisons, all if there are not twice as many; evenly spaced
        in their order, which is that of content hashes and so as good as random."""
        step = len(self.raters) // size
        if step < 2:
            return self
        rows, ends = np.unique(self.ends[:, ::step], return_inverse=True)
        offset = self.offset if isinstance(self.offset, float) else self.offset[::step]
        some = self.readings.take(rows), ends.reshape(2, -1), self.raters[::step]
        return Training(*some, offset)

    def differences(self, features: Features) -> np.ndarray:
        """Return z(chosen) − z(rejected), [N, F]."""
        out = np.empty((len(self.raters), len(features.center)))
        # In parts: both sides of a large table at once would be twice its size again.
        for start in range(0, len(out), SLICE):
            part = slice(start, start + SLICE)
            first, second = (self.readings.take(rows[part]) for rows in self.ends)
            out[part] = features.clipped(first) - features.clipped(second)
        return out


def in_order(comparisons: Pairs) -> Comparisons:
    """Return comparisons in an order that depends neither on the order given nor on who won."""

    def place(c: Comparison) -> tuple[str, str, str, str]:
        low, high = sorted((c.chosen.key, c.rejected.key))
        return low, high, c.rater, c.chosen.key

    return Comparisons(tuple(sorted(comparisons, key=place)))
