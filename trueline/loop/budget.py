"""One budget of labels for learning and for certifying.

A round may spend on learning what is left after every gate still to come has its share, divided by
the rounds still to come: labels that a gate did not need go back to learning.

>>> Budget(total=100, gate_frac=0.2, rounds=2).for_learning(1)
40
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trueline.errors import BudgetSpent, InputError

__all__ = ["Budget"]


@dataclass
class Budget:
    """Count labels by purpose; never let more be spent than there are."""

    total: int
    gate_frac: float
    """Share of the labels kept for the gates, in equal parts; at 1 none are left to learn from."""
    rounds: int
    spent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.gate_frac <= 1:
            raise InputError("gate_frac must be above 0 and at most 1", got=str(self.gate_frac))
        if self.per_gate < 1 or (self.gate_frac < 1 and self.total < 2 * self.rounds):
            raise InputError(
                "the budget must give every round at least one label for its gate and one to learn",
                got=f"{self.total} labels for {self.rounds} rounds",
                do="raise --labels or lower --rounds",
            )

    @property
    def per_gate(self) -> int:
        """The most labels that one gate may use."""
        return int(self.total * self.gate_frac / self.rounds)

    @property
    def left(self) -> int:
        """Labels not yet spent."""
        return self.total - sum(self.spent.values())

    def for_learning(self, round: int) -> int:
        """Return how many labels that round (1, 2, …) may spend on learning."""
        if self.gate_frac == 1:
            return 0
        rounds_left = self.rounds - round + 1
        return max(0, (self.left - self.per_gate * rounds_left) // rounds_left)

    def spend(self, purpose: str, num_labels: int) -> None:
        """Book labels; raise `BudgetSpent` where there are not as many."""
        if num_labels > self.left:
            raise BudgetSpent(f"at most {self.left} labels are left", got=f"{num_labels} asked for")
        self.spent[purpose] = self.spent.get(purpose, 0) + num_labels

    def pay_helpers(self, cost: Mapping[str, float]) -> None:
        """Book what raising helpers took; `InputError` where nothing is left to learn from."""
        if labels := int(cost.get("labels", 0)):
            self.spent["helpers"] = labels
        if self.gate_frac < 1 and self.for_learning(1) < 1:
            raise InputError(
                "the budget must pay for raising helpers and leave something to learn from",
                got=f"{self.total} labels, of which helpers take {labels}",
                do="raise --labels",
            )
