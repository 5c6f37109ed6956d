"""Consultancy: one side alone argues, right or wrong, and nobody answers it. For contrast.

    for r in 1..R:   speech for the assigned answer;   b_r = judge's belief in answer 0

What debate must beat (Michael et al. 2023, arXiv 2311.08702; Khan et al. 2024, 2402.06782): a
consultant is assigned the better answer half of the time, so a judge who believes whatever it is
told is right half of the time.

Where we differ: the judge asks nothing between rounds. Quotes, limit and beliefs as in `debate`.

>>> Consultancy(side=1).side
1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.oversight.transcript import UNLIMITED, Transcript, needs
from trueline.protocols import Debater, Rater
from trueline.records import Case, Cost, Verdict

__all__ = ["Consultancy"]


@dataclass(frozen=True, kw_only=True)
class Consultancy:
    """One side, verified quotes, a belief after every round."""

    rounds: int = 3
    side: int | None = None
    """Which answer is argued for, 0 or 1 in the order of the case; None: drawn for each case."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.side not in (None, 0, 1):
            raise InputError(
                "a consultancy has at least one round, for side 0 or 1",
                got=f"rounds={self.rounds}, side={self.side}",
                do="leave side out to have it drawn",
            )

    def judge(
        self,
        case: Case,
        *,
        helper: Debater | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict; `helper` argues for the assigned side."""
        consultant = needs(helper, "argue", "consultancy")
        ledger = Transcript(case, judge, rng, self.limit)
        drawn = int(rng.spawn(1)[0].integers(2))
        side = drawn if self.side is None else self.side
        for round in range(1, self.rounds + 1):
            if not ledger.affords(1):
                break
            ledger.show([ledger.argue(consultant, side, round=round)])
            ledger.consult(round=round)
        return ledger.conclude()
