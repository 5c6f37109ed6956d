"""Judging with critiques: a helper says what is wrong with each answer, the judge looks there.

    c_1 .. c_K independent critiques of an answer;  shown: argmax_k usefulness(c_k)

Saunders et al. 2022 (arXiv 2206.05802): people shown model-written critiques find about half as
many flaws again. The critique directs the look and never decides: what the helper says is passed
on with the case, and the judge checks it or does not.

Where we differ: (1) both answers are criticised, by the same helper, without its seeing the other;
(2) a critique that could not be read is passed on as such (`flaws is None`), not as "no flaw";
(3) the best of K is chosen by `usefulness`, any function of a critique (a reward learned from
which critiques moved judges toward the truth, say), not by the critic's own word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from trueline.errors import InputError
from trueline.oversight.transcript import UNLIMITED, Transcript, needs
from trueline.protocols import Helper, Rater
from trueline.records import Case, Cost, Verdict
from trueline.records import Critique as Said

__all__ = ["Usefulness", "WithCritique"]

Usefulness: TypeAlias = Callable[[Said], float]


@dataclass(frozen=True, kw_only=True)
class WithCritique:
    """The most useful critique of each answer, shown to the judge together with both."""

    num_critiques: int = 1
    """Independent critiques an answer, of which one is shown."""
    usefulness: Usefulness | None = None
    """How useful a critique would be to the judge; needed where there is more than one."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        if self.num_critiques < 1 or (self.num_critiques > 1 and self.usefulness is None):
            raise InputError(
                "to choose among several critiques their usefulness must be known",
                got=f"num_critiques={self.num_critiques} and usefulness={self.usefulness}",
                do="pass usefulness=…, or one critique",
            )

    def judge(
        self,
        case: Case,
        *,
        helper: Helper | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict, with the critiques that were shown."""
        critic = needs(helper, "critique", "critique")
        ledger = Transcript(case, judge, rng, self.limit)
        written: list[list[Said]] = [[], []]
        for _ in range(self.num_critiques):
            if ledger.affords(2):
                for own, one in zip(written, ledger.criticise(critic, case.responses), strict=True):
                    own.append(one)
        ledger.show([self._pick(own) for own in written if own])
        return ledger.conclude()

    def _pick(self, critiques: list[Said]) -> Said:
        """The most useful of those that can be read; the first if none can."""
        readable = [c for c in critiques if c.flaws is not None]
        if not readable or self.usefulness is None:
            return critiques[0]
        return max(readable, key=self.usefulness)
