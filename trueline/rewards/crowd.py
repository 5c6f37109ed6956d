"""How far a response lies from those the reward was fitted on.

    novelty ν = sqrt(xᵀ C⁻¹ x) / typical,    C = (1 − ρ) cov(x) + ρ I,    ρ = F / (F + N)

x are standardised features before clipping, which would hide what is new. `typical` is the median
distance of a training row from the others (left out of C in closed form), so that 1 means "as far
as an answer of that kind usually is". Mahalanobis 1936.

Where we differ: the shrinkage ρ grows with the number of features over the number of rows instead
of being estimated, and the covariance is held as a `Belief`, which never builds F × F when F > N.
Shapes: N rows, F features. Fails on rows that are unusual in no direction that was read.

>>> import numpy as np
>>> crowd = Crowd.of(np.random.default_rng(0).standard_normal((400, 3)))
>>> bool(crowd.novelty(np.full((1, 3), 9.0))[0] > 5)
True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.rewards.laplace import Belief, belief_of

__all__ = ["Crowd"]


@dataclass(frozen=True)
class Crowd:
    """Where the training readings lie, for novelty."""

    shape: Belief
    """Its covariance is C⁻¹, over the best layer's columns."""
    typical: float

    @classmethod
    def of(cls, standard: np.ndarray) -> Crowd:
        """From standardised training rows [N, F]."""
        num_rows, width = standard.shape
        shrink = width / (width + num_rows)
        each = (1.0 - shrink) / num_rows
        shape = belief_of(np.full(width, shrink), standard, np.full(num_rows, each))
        inside = shape.var(standard)
        left_out = inside / np.maximum(1.0 - each * inside, 1e-6)
        return cls(shape, max(float(np.sqrt(np.median(left_out))), 1e-12))

    def novelty(self, standard: np.ndarray) -> np.ndarray:
        """Distance of each row [N, F] over the typical distance."""
        return np.asarray(np.sqrt(self.shape.var(standard)) / self.typical)
