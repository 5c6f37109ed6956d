"""The comparisons of one fit as rows: which readings, which side won, whose word it was.

Rows stand in an order that depends on their content alone, neither on the order they came in nor on
who won, so that a fit repeats, and reverses with its labels, to the last bit.

Shapes: N comparisons, F features. Fails (`DataError`) on no comparison, on responses that were not
read and on readings that are not finite.

>>> from trueline.testing import FakeTrunk
>>> from trueline.records import Prompt, Response
>>> a, b = (Response(prompt=Prompt.of("?"), text=text) for text in "ab")
>>> training = Training.of(FakeTrunk().read([a, b]), [Comparison(chosen=a, rejected=b)])
>>> len(training.readings), training.raters
(2, ('unknown',))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.features import Features
from trueline.rewards.fitted import ordered
from trueline.rewards.laplace import SLICE

__all__ = ["Training"]

LARGE = 30_000_000
"""Numbers above which a table of differences is held in float32."""


@dataclass
class Training:
    """The training rows of a fit, in an order that depends on their content only."""

    readings: Readings
    chosen: np.ndarray
    rejected: np.ndarray
    raters: tuple[str, ...]
    temperatures: dict[str, float]
    heat: np.ndarray
    """Temperature of each comparison's rater, [N]."""
    label_noise: float = 0.0
    winsor: float = np.inf
    """Where features are clipped; the search sets it."""

    @classmethod
    def of(cls, readings: Readings, comparisons: Sequence[Comparison]) -> Training:
        if not len(comparisons):
            raise DataError("a reward needs at least one comparison", got="none")
        first, second, raters = ordered(comparisons)
        keys = sorted({*first, *second})
        used = readings.take(readings.rows(keys))
        finite = np.isfinite(used.latents).all(axis=(1, 2, 3))
        if used.surprisals is not None:
            finite &= np.isfinite(used.surprisals).all(axis=1)
        if not finite.all():
            raise DataError(
                "readings of comparisons must be finite",
                got=f"NaN or inf in {int((~finite).sum())} of {len(finite)} rows",
                do="check the trunk's dtype, or leave those rows out",
            )
        return cls(used, used.rows(first), used.rows(second), raters, {}, np.ones(len(raters)))

    def sample(self, size: int) -> Training:
        """About `size` of the comparisons, evenly spaced in their order, which is that of content
        hashes and so as good as random; all of them if there are no more."""
        step = len(self.raters) // size
        if step < 2:
            return self
        rows, position = np.unique(
            np.concatenate([self.chosen[::step], self.rejected[::step]]), return_inverse=True
        )
        first, second = np.split(position, 2)
        taken = self.raters[::step]
        used = self.readings.take(rows)
        return Training(
            used, first, second, taken, {}, np.ones(len(taken)), self.label_noise, self.winsor
        )

    def differences(self, features: Features) -> np.ndarray:
        """z(chosen) − z(rejected), times the rater's temperature, [N, F]; float64, or float32
        where the table is large."""
        num, width = len(self.raters), len(features.center)
        if num * width <= LARGE:
            z = features.clipped(self.readings)
            return np.asarray((z[self.chosen] - z[self.rejected]) * self.heat[:, None])
        out = np.empty((num, width), np.float32)
        for start in range(0, num, SLICE):
            part = slice(start, start + SLICE)
            z, other = (
                features.clipped(self.readings.take(side[part]))
                for side in (self.chosen, self.rejected)
            )
            out[part] = (z - other) * self.heat[part, None]
        return out

    def set_temperatures(self, found: dict[str, float]) -> bool:
        """Take these temperatures; False if there are none to take."""
        self.temperatures = found
        self.heat = np.array([found.get(rater, 1.0) for rater in self.raters])
        return bool(found)
