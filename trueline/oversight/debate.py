"""Debate, where each answer is argued for, and consultancy, where one side alone is heard.

    for r in 1..R:   a speech for each side (or the one);   b_r = judge's belief in the first answer

Debate: Irving et al. 2018 (arXiv 1805.00899); with quotes and a judge who cannot read the source,
Michael et al. 2023 (2311.08702), Khan et al. 2024 (2402.06782); over nine tasks, Kenton et al. 2024
(2407.04622). Quotes are verified against the case's source by string match before the judge reads
them. The speeches of a round do not know each other. Consultancy is what debate must beat: a
consultant is given the better answer half of the time, so a judge who believes every word is right
half of the time.

Where we differ: the judge asks nothing between rounds. A round that the limit does not allow in
full, with the judge's word after it, is not begun. Fails where debaters cannot find the flaw, or a
lie cannot be refuted in so many words (obfuscated arguments, Barnes & Christiano 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trueline.errors import InputError
from trueline.oversight.transcript import Limited, Transcript, require
from trueline.protocols import Debater, Rater
from trueline.records import Case, Verdict
from trueline.rng import Rng

__all__ = ["Consultancy", "Debate"]


@dataclass(frozen=True, kw_only=True)
class _Argued(Limited):
    """Rounds of speeches, and the judge's belief after each."""

    name: ClassVar[str]
    num_sides: ClassVar[int]
    rounds: int = 3
    """Rounds of speeches."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError("rounds must be at least 1", got=str(self.rounds))

    def judge(
        self, case: Case, *, helper: Debater | None = None, judge: Rater, rng: Rng
    ) -> Verdict:
        """Return one verdict; `helper` argues, knowing only what was said, and is first by lot."""
        debater = require(helper, "argue", self.name)
        transcript = Transcript(case, judge, rng, self.limit)
        opening = int(rng.spawn(1)[0].integers(2))
        sides = (opening, 1 - opening)[: self.num_sides]
        for round in range(1, self.rounds + 1):
            if not transcript.can_afford(self.num_sides):
                break
            transcript.show([transcript.argue(debater, side, round=round) for side in sides])
            transcript.consult(round=round)
        return transcript.conclude()


@dataclass(frozen=True, kw_only=True)
class Debate(_Argued):
    """Let both sides argue, and ask the judge for a belief after every round."""

    name = "debate"
    num_sides = 2


@dataclass(frozen=True, kw_only=True)
class Consultancy(_Argued):
    """Let one side argue unanswered, right or wrong: the contrast to debate."""

    name = "consultancy"
    num_sides = 1
