"""Debate, where each answer is argued for, and consultancy, where one side alone is heard.

    for r in 1..R:   a speech for each side (or the one);   b_r = judge's belief in the first answer

Debate: Irving et al. 2018 (arXiv 1805.00899); with quotes and a judge who cannot read the source,
Michael et al. 2023 (2311.08702), Khan et al. 2024 (2402.06782); over nine tasks, Kenton et al. 2024
(2407.04622). Quotes are verified against the case's source by string match before the judge reads
them. Simultaneous speeches do not know each other; in turn, the second of a round knows the first,
and who is first is drawn for each case. Consultancy is what debate must beat: a consultant is given
the better answer half of the time, so a judge who believes every word is right half of the time.

Where we differ: the judge asks nothing between rounds. A round that the limit does not allow in
full, with the judge's word after it, is not begun. Fails where debaters cannot find the flaw, or a
lie cannot be refuted in so many words (obfuscated arguments, Barnes & Christiano 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.oversight.transcript import UNLIMITED, Transcript, require
from trueline.protocols import Debater, Rater
from trueline.records import Case, Cost, Verdict

__all__ = ["Consultancy", "Debate"]


@dataclass(frozen=True, kw_only=True)
class Debate:
    """Let both sides argue, and ask the judge for a belief after every round."""

    rounds: int = 3
    """Rounds of speeches."""
    simultaneous: bool = True
    """Whether the speeches of a round are written without knowing each other."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        _check_rounds(self.rounds)

    def judge(
        self, case: Case, *, helper: Debater | None = None, judge: Rater, rng: np.random.Generator
    ) -> Verdict:
        """Return one verdict; `helper` argues for either side, knowing only what was said."""
        debater = require(helper, "argue", "debate")
        transcript = Transcript(case, judge, rng, self.limit)
        opening = _draw_side(rng)
        for round in range(1, self.rounds + 1):
            if not transcript.can_afford(2):
                break
            speeches = []
            for side in (opening, 1 - opening):
                speeches.append(transcript.argue(debater, side, round=round))
                if not self.simultaneous:
                    transcript.show([speeches.pop()])
            transcript.show(speeches)
            transcript.consult(round=round)
        return transcript.conclude()


@dataclass(frozen=True, kw_only=True)
class Consultancy:
    """Let one side argue unanswered, right or wrong: the contrast to debate."""

    rounds: int = 3
    """Rounds of speeches."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        _check_rounds(self.rounds)

    def judge(
        self, case: Case, *, helper: Debater | None = None, judge: Rater, rng: np.random.Generator
    ) -> Verdict:
        """Return one verdict; `helper` argues for a side that is drawn for each case."""
        consultant = require(helper, "argue", "consultancy")
        transcript = Transcript(case, judge, rng, self.limit)
        side = _draw_side(rng)
        for round in range(1, self.rounds + 1):
            if not transcript.can_afford(1):
                break
            transcript.show([transcript.argue(consultant, side, round=round)])
            transcript.consult(round=round)
        return transcript.conclude()


def _draw_side(rng: np.random.Generator) -> int:
    return int(rng.spawn(1)[0].integers(2))


def _check_rounds(rounds: int) -> None:
    if rounds < 1:
        raise InputError("rounds must be at least 1", got=str(rounds))
