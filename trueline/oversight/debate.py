"""Debate: each answer is argued for, round by round, and the judge follows with its belief.

    for r in 1..R:   speech for answer 0, speech for answer 1;   b_r = judge's belief in answer 0

Irving et al. 2018 (arXiv 1805.00899); with quotes and a judge who cannot read the source, Michael
et al. 2023 (2311.08702), Khan et al. 2024 (2402.06782); over nine tasks, Kenton et al. 2024
(2407.04622). Quotes are verified against the case's source by string match before the judge reads
them. Simultaneous speeches do not know each other; in turn, the second of a round knows the first,
and who is first is drawn for each case.

Where we differ: the judge asks nothing between rounds, and the number of rounds is fixed. A round
that the limit does not allow in full, with the judge's word after it, is not begun.

Fails where debaters cannot find the flaw, or a lie cannot be refuted in so many words (obfuscated
arguments); `trueline.audits.debate.forecast` says beforehand whether to expect that.

>>> Debate(rounds=2, simultaneous=False).rounds
2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.oversight.transcript import UNLIMITED, Transcript, needs
from trueline.protocols import Debater, Rater
from trueline.records import Case, Cost, Verdict

__all__ = ["Debate"]


@dataclass(frozen=True, kw_only=True)
class Debate:
    """Two sides, verified quotes, a belief after every round."""

    rounds: int = 3
    simultaneous: bool = True
    """Whether the speeches of a round are written without knowing each other."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError("a debate has at least one round", got=str(self.rounds))

    def judge(
        self,
        case: Case,
        *,
        helper: Debater | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict; `helper` argues for either side, without memory but for what was said."""
        debater = needs(helper, "argue", "debate")
        ledger = Transcript(case, judge, rng, self.limit)
        opening = int(rng.spawn(1)[0].integers(2))
        for round in range(1, self.rounds + 1):
            if not ledger.affords(2):
                break
            held = []
            for side in (opening, 1 - opening):
                held.append(ledger.argue(debater, side, round=round))
                if not self.simultaneous:
                    ledger.show([held.pop()])
            ledger.show(held)
            ledger.consult(round=round)
        return ledger.conclude()
