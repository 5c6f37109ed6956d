"""A lower bound around any head, which always subtracts.

    lower = mean − k (std + distance · spread · (novelty − 1)₊)

Mean, std and novelty are the wrapped head's, untouched: k = 0 is that head exactly. The std part is
pessimism under the posterior (as in 2310.02743 and 2402.13210, which subtract an ensemble's
variance); the distance part stands for what the posterior cannot know, because heads on one trunk
share its errors.

Where we differ: k and distance must not be negative, so the bound can never flatter.
Fails where the reward is wrong inside the data: neither std nor novelty sees that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import Fitted, Head, Pairs
from trueline.rng import Rng

__all__ = ["Conservative"]


@dataclass(frozen=True, kw_only=True)
class Conservative:
    """Any head, with a lower bound."""

    head: Head = field(default_factory=Bayesian)
    """The head that learns."""
    k: float = 1.0
    """Posterior standard deviations to subtract, not negative."""
    distance: float = 1.0
    """Spreads of the score that count as uncertainty per unit of novelty above 1, not negative;
    `Calibrated` counts at least 1."""

    def __post_init__(self) -> None:
        if not (0.0 <= self.k < np.inf and 0.0 <= self.distance < np.inf):
            raise InputError(
                "k and distance must be finite numbers, at least 0",
                got=f"{self.k} and {self.distance}",
                do="a bound that adds would reward uncertainty",
            )

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Fitted:
        """Return the wrapped head's fit, with this lower bound."""
        return self.head.fit(readings, comparisons, rng=rng).with_lower_bound(
            self.k, self.k * self.distance
        )
