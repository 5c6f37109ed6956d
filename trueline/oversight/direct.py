"""Unaided judging: the judge sees the two answers in random order and says which is better.

The baseline that every kind of help must beat.
"""

from __future__ import annotations

from dataclasses import dataclass

from trueline.oversight.transcript import Limited, Transcript
from trueline.protocols import Rater
from trueline.records import Case, Verdict
from trueline.rng import Rng

__all__ = ["Direct"]


@dataclass(frozen=True, kw_only=True)
class Direct(Limited):
    """Judge without help."""

    def judge(self, case: Case, *, helper: object = None, judge: Rater, rng: Rng) -> Verdict:
        """Return the judge's verdict; the helper is not asked."""
        return Transcript(case, judge, rng, self.limit).conclude()
