"""Judging with critiques: a helper says what is wrong with each answer, the judge looks there.

Saunders et al. 2022 (arXiv 2206.05802): people shown model-written critiques find about half as
many flaws again. The critique directs the look and never decides: what the helper says is passed
on with the case, and the judge checks it or does not.

Where we differ: (1) both answers are criticised, by the same helper, without its seeing the other;
(2) a critique that could not be read is passed on as such (`flaws is None`), not as "no flaw".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.oversight.direct import in_random_order
from trueline.records import Response, Verdict
from trueline.roles import Helper, Rater

__all__ = ["Critique"]


@dataclass(frozen=True, kw_only=True)
class Critique:
    """One critique of each answer, shown to the judge together with both."""

    def judge(
        self,
        case: tuple[Response, Response],
        *,
        helper: Helper | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict, with the critiques that were shown."""
        if helper is None:
            raise InputError(
                "critique needs a helper", got="none", do="pass helper=… or use direct"
            )
        critiques = tuple(helper.critique(case))
        return in_random_order(case, judge=judge, critiques=critiques, rng=rng)
