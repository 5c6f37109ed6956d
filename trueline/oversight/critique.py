"""Judging with critiques: a helper says what is wrong with each answer, and the judge looks there.

Saunders et al. 2022 (arXiv 2206.05802): people shown model-written critiques find about half as
many flaws again. A critique directs the judge's attention and never decides.

Where we differ: (1) both answers are criticised, each without seeing the other; (2) a critique that
could not be read is passed on as such (`flaws is None`), not as "no flaw".
"""

from __future__ import annotations

from dataclasses import dataclass

from trueline.oversight.transcript import Limited, Transcript, require
from trueline.protocols import Helper, Rater
from trueline.records import Case, Verdict
from trueline.rng import Rng

__all__ = ["WithCritique"]


@dataclass(frozen=True, kw_only=True)
class WithCritique(Limited):
    """Show the judge a critique of each answer."""

    def judge(self, case: Case, *, helper: Helper | None = None, judge: Rater, rng: Rng) -> Verdict:
        """Return one verdict, with the critiques that were shown."""
        critic = require(helper, "critique", "critique")
        transcript = Transcript(case, judge, rng, self.limit)
        if transcript.can_afford(2):
            transcript.show(transcript.criticise(critic, case.responses))
        return transcript.conclude()
