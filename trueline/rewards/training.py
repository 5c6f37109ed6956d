"""The comparisons of one fit as rows.

They stand in an order that depends on their content alone, neither on the order they came in nor
on who won, so that a fit repeats, and reverses with its labels, to the last bit.

Shapes: N comparisons, F features.

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

from trueline.data.comparisons import Comparisons
from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.features import Features
from trueline.rewards.laplace import SLICE

__all__ = ["Training", "in_order"]


@dataclass(frozen=True)
class Training:
    """The training rows of a fit, in an order that depends on their content only."""

    readings: Readings
    chosen: np.ndarray
    """Row of each comparison's winner, [N]."""
    rejected: np.ndarray
    raters: tuple[str, ...]

    @classmethod
    def of(cls, readings: Readings, comparisons: Sequence[Comparison]) -> Training:
        """Find the readings of these comparisons.

        Raises:
            DataError: there is no comparison, a response was not read, or a reading is not finite.
        """
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
        ends = used.rows(pairs.chosen_keys), used.rows(pairs.rejected_keys)
        return cls(used, *ends, tuple(pair.rater for pair in pairs))

    def sample(self, size: int) -> Training:
        """Return about `size` of the comparisons, all if there are not twice as many; evenly spaced
        in their order, which is that of content hashes and so as good as random."""
        step = len(self.raters) // size
        if step < 2:
            return self
        ends = np.concatenate([self.chosen[::step], self.rejected[::step]])
        rows, position = np.unique(ends, return_inverse=True)
        first, second = np.split(position, 2)
        used = self.readings.take(rows)
        return Training(used, first, second, self.raters[::step])

    def differences(self, features: Features) -> np.ndarray:
        """Return z(chosen) − z(rejected), [N, F]."""
        out = np.empty((len(self.raters), len(features.center)))
        # In parts: both sides of a large table at once would be twice its size again.
        for start in range(0, len(out), SLICE):
            part = slice(start, start + SLICE)
            out[part] = features.clipped(self.readings.take(self.chosen[part]))
            out[part] -= features.clipped(self.readings.take(self.rejected[part]))
        return out


def in_order(comparisons: Sequence[Comparison]) -> Comparisons:
    """Return comparisons in an order that depends neither on the order given nor on who won, so
    that fits repeat, and reverse with the labels, bit for bit."""

    def place(c: Comparison) -> tuple[str, str, str, str]:
        low, high = sorted((c.chosen.key, c.rejected.key))
        return low, high, c.rater, c.chosen.key

    return Comparisons(tuple(sorted(comparisons, key=place)))
