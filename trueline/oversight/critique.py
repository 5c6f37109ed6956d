"""Judging with critiques: a helper says what is wrong with each answer, and the judge looks there.

Saunders et al. 2022 (arXiv 2206.05802): people shown model-written critiques find about half as
many flaws again. A critique directs the judge's attention and never decides: the judge checks it,
or does not.

Where we differ: (1) both answers are criticised, by the same helper, without its seeing the other;
(2) a critique that could not be read is passed on as such (`flaws is None`), not as "no flaw";
(3) one critique an answer is asked for: choosing the best of four by a learned reward added 0.02
[0.005, 0.043] to right verdicts and cost four times the calls (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.oversight.transcript import UNLIMITED, Transcript, require
from trueline.protocols import Helper, Rater
from trueline.records import Case, Cost, Verdict

__all__ = ["WithCritique"]


@dataclass(frozen=True, kw_only=True)
class WithCritique:
    """Show the judge a critique of each answer."""

    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def judge(
        self, case: Case, *, helper: Helper | None = None, judge: Rater, rng: np.random.Generator
    ) -> Verdict:
        """Return one verdict, with the critiques that were shown."""
        critic = require(helper, "critique", "critique")
        transcript = Transcript(case, judge, rng, self.limit)
        if transcript.can_afford(2):
            transcript.show(transcript.criticise(critic, case.responses))
        return transcript.conclude()
