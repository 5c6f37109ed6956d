"""A judge asked twice, with the answers exchanged: what it says only in one order does not count.

    belief = (p_1 + (1 - p_2)) / 2,   undecided where the two verdicts differ

After Wang et al. 2023 (arXiv 2305.17926) and Zheng et al. 2023 (arXiv 2306.05685), who found models
to favour a place. It catches whatever speaks of places ("answer A", a taste for the first), in
texts that try to command the judge too; not what speaks of contents. It costs twice as much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trueline.protocols import Rater
from trueline.records import Critique, Preference, Response, Verdict

__all__ = ["BothOrders"]


@dataclass(frozen=True)
class BothOrders:
    """Take the judge's verdict where both orders agree; undecided, with the reason, elsewhere."""

    judge: Rater

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """Return one verdict from two askings, with the words and costs of both."""
        one = self.judge.compare(first, second, critiques=critiques, rng=rng)
        two = self.judge.compare(second, first, critiques=critiques, rng=rng).mirrored
        one_cost, two_cost = (replace(v.cost, calls=max(1, v.cost.calls)) for v in (one, two))
        both = replace(one, text=f"{one.text}\n\n{two.text}".strip(), cost=one_cost + two_cost)
        reason = one.reason or two.reason
        if reason is None and one.preference is two.preference:
            stated = [b for b in (one.belief, two.belief) if b is not None]
            return replace(both, belief=sum(stated) / 2 if len(stated) == 2 else None)
        reason = reason or "the judge's word depends on the order"
        return replace(both, preference=Preference.UNDECIDED, found=(), belief=None, reason=reason)
