"""Unaided judging: the judge sees the two answers in random order and says which is better.

The baseline every kind of assistance must beat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trueline.records import Critique, Preference, Response, Verdict
from trueline.roles import Helper, Rater

__all__ = ["Direct", "in_random_order"]

_MIRROR = {
    Preference.FIRST: Preference.SECOND,
    Preference.SECOND: Preference.FIRST,
    Preference.UNDECIDED: Preference.UNDECIDED,
}


def in_random_order(
    case: tuple[Response, Response],
    *,
    judge: Rater,
    critiques: tuple[Critique, ...] = (),
    rng: np.random.Generator,
) -> Verdict:
    """Ask the judge with the order drawn at random; the verdict speaks of the order of `case`."""
    first, second = case
    swapped = bool(rng.integers(2))
    shown = (second, first) if swapped else (first, second)
    verdict = judge.compare(*shown, critiques=critiques, rng=rng)
    if not swapped:
        return verdict
    return replace(verdict, preference=_MIRROR[verdict.preference])


@dataclass(frozen=True, kw_only=True)
class Direct:
    """No help."""

    def judge(
        self,
        case: tuple[Response, Response],
        *,
        helper: Helper | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict; the helper is not asked."""
        return in_random_order(case, judge=judge, rng=rng)
