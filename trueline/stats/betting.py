"""Test a bounded mean by betting against it: valid whenever one stops looking.

    H0: E[x_t | past] <= m, x_t in [0, 1]
    capital_t(f) = prod_i (1 + (f / m) (x_i - m)),   e_t = average of capital_t over fractions f

Under H0 each capital is a nonnegative supermartingale that starts at 1, so P(e_t >= 1/alpha at any
t) <= alpha (Ville 1939), for any dependence and any stopping. A confidence sequence keeps the means
that have not been bet down from either side. Waudby-Smith & Ramdas 2020 (2010.09686).

We differ: 1. an average over fixed fractions f of the stake instead of predictable plug-in bets;
at alpha 0.02, within 80 observations of win rate 0.7, aGRAPA rejects in 71 % of runs, f = 0.4 alone
in 87 % (benchmarks/gate_power.py; `loop/gate.py` uses it). 2. Each side of the interval spends
alpha/2 instead of the two being averaged: capital is then monotone in m, the set kept is an
interval, and the grid rounds outwards. It loses power, never validity, for effects far below the
smallest fraction.

>>> test = BettingTest(0.5)
>>> for x in [1, 1, 0.5, 1, 1, 1, 1, 1]:
...     test.update(x)
>>> round(math.exp(test.log_e), 1)
19.3
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from trueline.errors import DataError, InputError
from trueline.stats.resampling import Floats, floats

__all__ = ["BettingTest", "confidence_sequence"]

FRACTIONS = (0.1, 0.2, 0.4, 0.8)
BIG = 1e100


class BettingTest:
    """An e-process against "the mean is at most m", fed one observation at a time (some 1 us).

    `e >= 1 / alpha` at any time rejects at level alpha.
    """

    def __init__(self, m: float = 0.5, *, fractions: Sequence[float] = FRACTIONS) -> None:
        if not (0 < m < 1 and fractions and all(0 < f < 1 for f in fractions)):
            raise InputError(
                "the tested mean and fractions of the stake must lie between 0 and 1",
                got=f"{m} and {fractions}",
            )
        self.m = m
        self.log_e = 0.0
        """Log of the capital that 1 has become, in nats."""
        self._bets = [f / m for f in fractions]
        self._capitals = [1.0 / len(fractions)] * len(fractions)
        self._log_scale = 0.0

    def update(self, x: float) -> None:
        """Add one observation in [0, 1]."""
        if not 0 <= x <= 1:
            raise DataError("an observation must lie between 0 and 1", got=str(x))
        pairs = zip(self._capitals, self._bets, strict=True)
        self._capitals = [capital * (1 + bet * (x - self.m)) for capital, bet in pairs]
        total = sum(self._capitals)
        self.log_e = self._log_scale + math.log(total)
        if not 1 / BIG < total < BIG:
            self._capitals = [capital / total for capital in self._capitals]
            self._log_scale = self.log_e


def confidence_sequence(
    xs: ArrayLike,
    alpha: float = 0.05,
    *,
    fractions: Sequence[float] = FRACTIONS,
    resolution: int = 500,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Return lower and upper ends [N] after 1, 2, … N observations in [0, 1].

    With probability 1 - alpha all of these intervals hold the mean. Ends are multiples of
    1 / resolution, rounded outwards. Memory grows as N times resolution times fractions.
    """
    x = floats(xs)
    if not 0 < alpha < 1 or ((x < 0) | (x > 1)).any():
        raise InputError("alpha and observations must lie between 0 and 1", got=f"alpha {alpha}")

    def lower_ends(x: Floats) -> Floats:
        """Return, after each observation, the largest mean on the grid rejected from above."""
        m = np.arange(1, resolution) / resolution
        bets = np.array(fractions)[:, None, None] / m
        capitals = np.log1p(bets * (x[:, None] - m)).cumsum(1) - math.log(len(fractions))
        rejected = np.logaddexp.reduce(capitals, axis=0) >= math.log(2 / alpha)
        # Capital falls as m rises: the rejected means are the first ones of the grid.
        return np.asarray(np.maximum.accumulate(rejected.sum(1)) / resolution)

    return lower_ends(x), 1 - lower_ends(1 - x)
