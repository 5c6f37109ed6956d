"""The comparisons of one fit as rows, and how far each rater can be relied on.

    p(chosen ≻ rejected | w, rater r) = σ(τ_r d·w),    log τ_r ~ N(0, 0.5²)

Rows stand in an order that depends on their content alone, neither on the order they came in nor on
who won, so that a fit repeats, and reverses with its labels, to the last bit.

τ_r maximises the leave-one-out likelihood of r's comparisons, so that a rater is not called
reliable for rows the fit has bent to. The left-out margin is the closed form of Laplace's method
(Opper and Winther 2000; Vehtari et al. 1412.7461, "LA-LOO"):

    f₋ᵢ = fᵢ − vᵢ gᵢ / (1 − vᵢ sᵢ)     v: posterior variance of the margin, g, s: slope, curvature

Where we differ: temperatures, not per-rater weights, so that all raters share one reward; their
mean is 1 (geometric, by comparisons), because their scale is the reward's. Only with at least two
raters of at least 20 comparisons each; the others keep 1. Fails for a rater who is worse than
chance: τ stays positive, and they are only turned down.

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
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from trueline.data.comparisons import Comparisons
from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.features import Features
from trueline.rewards.laplace import SLICE, Terms

__all__ = ["Training", "in_order", "left_out_margins", "ordered", "rater_temperatures"]

MIN_COMPARISONS = 20
"""Of each of at least two raters, for temperatures."""
LOG_SD = 0.5


@dataclass(frozen=True)
class Training:
    """The training rows of a fit, in an order that depends on their content only."""

    readings: Readings
    chosen: np.ndarray
    """Row of each comparison's winner, [N]."""
    rejected: np.ndarray
    raters: tuple[str, ...]
    temperature: np.ndarray
    """Reliability of each comparison's rater, [N]."""

    @classmethod
    def of(cls, readings: Readings, comparisons: Sequence[Comparison]) -> Training:
        """Find the readings of these comparisons.

        Raises:
            DataError: there is no comparison, a response was not read, or a reading is not finite.
        """
        if not len(comparisons):
            raise DataError("a reward needs at least one comparison", got="none")
        first, second, raters = ordered(comparisons)
        used = readings.take(readings.rows(sorted({*first, *second})))
        finite = np.isfinite(used.latents).all(axis=(1, 2, 3))
        if used.surprisals is not None:
            finite &= np.isfinite(used.surprisals).all(axis=1)
        if not finite.all():
            raise DataError(
                "readings of comparisons must be finite",
                got=f"NaN or inf in {int((~finite).sum())} of {len(finite)} rows",
                do="check the trunk's dtype, or leave those rows out",
            )
        return cls(used, used.rows(first), used.rows(second), raters, np.ones(len(raters)))

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
        return Training(used, first, second, self.raters[::step], self.temperature[::step])

    def differences(self, features: Features) -> np.ndarray:
        """Return z(chosen) − z(rejected), times the rater's temperature, [N, F]."""
        out = np.empty((len(self.raters), len(features.center)))
        # In parts: both sides of a large table at once would be twice its size again.
        for start in range(0, len(out), SLICE):
            part = slice(start, start + SLICE)
            out[part] = features.clipped(self.readings.take(self.chosen[part]))
            out[part] -= features.clipped(self.readings.take(self.rejected[part]))
            out[part] *= self.temperature[part, None]
        return out

    def with_temperatures(self, temperatures: dict[str, float]) -> Training:
        """Return the same rows under these raters' temperatures, 1 for who has none."""
        each = np.array([temperatures.get(rater, 1.0) for rater in self.raters])
        return replace(self, temperature=each)


def in_order(comparisons: Sequence[Comparison]) -> Comparisons:
    """Return comparisons in an order that depends neither on the order given nor on who won, so
    that fits repeat, and reverse with the labels, bit for bit."""

    def place(c: Comparison) -> tuple[str, str, str, str]:
        low, high = sorted((c.chosen.key, c.rejected.key))
        return low, high, c.rater, c.chosen.key

    return Comparisons(tuple(sorted(comparisons, key=place)))


def ordered(
    comparisons: Sequence[Comparison],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return keys of the chosen and of the rejected, and raters, in the order of `in_order`."""
    rows = [(c.chosen.key, c.rejected.key, c.rater) for c in in_order(comparisons)]
    chosen, rejected, raters = zip(*rows, strict=True)
    return chosen, rejected, raters


def left_out_margins(margins: np.ndarray, variance: np.ndarray, terms: Terms) -> np.ndarray:
    """Return the margin of each comparison under the posterior of all the others, [N]."""
    leverage = np.minimum(variance * terms.curvature, 0.999)
    return np.asarray(margins - variance * terms.slope / (1.0 - leverage))


def rater_temperatures(margins: np.ndarray, raters: Sequence[str]) -> dict[str, float]:
    """Return the reliability of each rater from left-out margins at temperature 1, [N].

    Empty where fewer than two raters have enough comparisons.

    >>> agreed = np.concatenate([np.full(90, 2.0), np.full(10, -2.0)])
    >>> noisy = np.concatenate([np.full(60, 2.0), np.full(40, -2.0)])
    >>> both = np.concatenate([agreed, noisy])
    >>> temperatures = rater_temperatures(both, ["ann"] * 100 + ["bob"] * 100)
    >>> temperatures["ann"] > 1 > temperatures["bob"]
    True
    """
    names = np.asarray(raters)
    counts = {str(name): int((names == name).sum()) for name in np.unique(names)}
    known = {name: n for name, n in counts.items() if n >= MIN_COMPARISONS}
    if len(known) < 2:
        return {}
    logs = {name: _log_temperature(margins[names == name]) for name in known}
    center = sum(logs[name] * n for name, n in known.items()) / sum(known.values())
    return {name: float(np.exp(log - center)) for name, log in logs.items()}


def _log_temperature(margins: np.ndarray) -> float:
    def loss(log: float) -> float:
        return float(0.5 * (log / LOG_SD) ** 2 - log_expit(np.exp(log) * margins).sum())

    return float(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)
