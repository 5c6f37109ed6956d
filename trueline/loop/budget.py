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
    """Count what is spent and on what; never let more be spent than there is.

    Args:
        total: labels of the whole run.
        gate_frac: share of them kept for the gates, in equal parts; at 1 nothing is asked to learn
            from, which suits a reward of rules.
        rounds: how many rounds share them.
        spent: labels so far, by purpose.
    """

    total: int
    gate_frac: float
    rounds: int
    spent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.gate_frac <= 1:
            raise InputError("gate_frac must be above 0 and at most 1", got=str(self.gate_frac))
        least = self.rounds if self.gate_frac == 1 else 2 * self.rounds
        if self.rounds < 1 or self.per_gate < 1 or self.total < least:
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
        """Book labels; raise `BudgetSpent` where the budget does not hold them."""
        if num_labels > self.left:
            raise BudgetSpent(
                f"at most {self.left} labels are left", got=f"{num_labels} for {purpose}"
            )
        self.spent[purpose] = self.spent.get(purpose, 0) + num_labels

    def check_learning(self, helper_cost: Mapping[str, float]) -> None:
        """Book what raising helpers took.

        Raises:
            InputError: nothing is left to learn from.
        """
        labels = int(helper_cost.get("labels", 0))
        if labels:
            self.spent["helpers"] = labels
        if self.gate_frac < 1 and self.for_learning(1) < 1:
            raise InputError(
                "the budget must pay for raising helpers and leave something to learn from",
                got=f"{self.total} labels, of which helpers take {labels}",
                do="raise --labels",
            )
