"""One budget of labels for learning and for certifying, and which pair is worth asking about.

What a round may spend on learning is what is left after every gate still to come has its share,
divided by the rounds still to come: labels that a gate did not need go back to learning.

The worth of asking about a pair is the information its answer is expected to give on the reward
(Houlsby et al. 2011, "BALD", arXiv 1112.5745), for a margin m ~ N(mu, s^2) and a Bradley–Terry
answer:

    I = h(sigmoid(mu / sqrt(1 + pi s^2 / 8))) - E_m[h(sigmoid(m))],   h = binary entropy, in nats

Where we differ: the expectation is by 15-point Gauss–Hermite quadrature, not by their fitted curve.

>>> Budget(total=100, gate_frac=0.2, rounds=2).for_learning(1)
40
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, xlogy

from trueline.errors import BudgetSpent, InputError

__all__ = ["Budget", "expected_information"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


def _entropy(p: np.ndarray) -> np.ndarray:
    return np.asarray(-xlogy(p, p) - xlogy(1 - p, 1 - p))


def expected_information(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Nats expected from asking about pairs whose margin is N(mean, std^2); same shape, >= 0."""
    margins = mean[..., None] + std[..., None] * _NODES
    probabilities = expit(margins)
    weights = _WEIGHTS / _WEIGHTS.sum()
    gain = _entropy(probabilities @ weights) - _entropy(probabilities) @ weights
    return np.asarray(np.maximum(gain, 0.0))


@dataclass
class Budget:
    """Counts what is spent and on what; never lets more be spent than there is."""

    total: int
    gate_frac: float
    """Share of the total kept for the gates, in equal parts."""
    rounds: int
    spent: dict[str, int] = field(default_factory=lambda: {"learn": 0, "gate": 0})

    def __post_init__(self) -> None:
        if not 0 < self.gate_frac < 1:
            raise InputError("the gate's share must lie between 0 and 1", got=str(self.gate_frac))
        if self.per_gate < 1 or self.total < 2 * self.rounds:
            raise InputError(
                "the budget must give every round at least one label for its gate and one to learn",
                got=f"{self.total} labels for {self.rounds} rounds",
                do="raise --labels or lower --rounds",
            )

    @property
    def per_gate(self) -> int:
        """The most that one gate may use."""
        return int(self.total * self.gate_frac / self.rounds)

    @property
    def left(self) -> int:
        return self.total - sum(self.spent.values())

    def for_learning(self, round: int) -> int:
        """Labels that round (1, 2, …) may spend on learning."""
        rounds_left = self.rounds - round + 1
        return max(0, (self.left - self.per_gate * rounds_left) // rounds_left)

    def spend(self, purpose: str, labels: int) -> None:
        """Book `labels`; refuses what the budget does not hold."""
        if labels > self.left:
            raise BudgetSpent(f"at most {self.left} labels are left", got=f"{labels} for {purpose}")
        self.spent[purpose] += labels
