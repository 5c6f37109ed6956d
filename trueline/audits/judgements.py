"""Measure arms of judging: accuracy, beliefs by round, calibration, cost, and one arm less another.

    accuracy        share right of those decided with known truth (undecided: a share of its own)
    shown_first     share of those decided that prefer the answer shown first: a fair judge, a half
    same_answer     share of cases with one preference in both orders, where both were asked
    belief_curve    mean belief in the better answer after r rounds; who has ended keeps the last
    reliability     confidence max(p, 1 - p) against the share of beliefs on the better side
    contrast        accuracy(one) - accuracy(other), paired on the cases that both arms decided

All intervals are by whole groups (prompts). Beliefs not stated and truths not known are left out,
and n says how many are left.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from trueline import stats
from trueline.errors import DataError
from trueline.records import Estimate, Preference, Verdict
from trueline.rng import Rng, stream

__all__ = [
    "JudgedCase",
    "accuracy",
    "belief_curve",
    "by_arm",
    "contrast",
    "contrasts",
    "measure",
    "samples",
]

LEAN = 0.05
"""How far from a half the share of answers shown first must be at least, besides an interval that
leaves a half out, for a judge to be called biased."""
_CHOICE = {Preference.FIRST: 0, Preference.SECOND: 1}


@dataclass(frozen=True, kw_only=True)
class JudgedCase:
    """One act of judging that is over, and beside it the truth."""

    id: str
    group: str
    """What intervals are clustered by."""
    protocol: str
    """The arm."""
    question: str
    answers: tuple[str, str]
    verdict: Verdict
    correct: int | None = None
    """Which answer, 0 or 1, is the better; None where nobody knows."""

    @property
    def right(self) -> float | None:
        """1 if the better answer was preferred, else 0; None if undecided or nobody knows."""
        choice = _CHOICE.get(self.verdict.preference)
        return None if choice is None or self.correct is None else float(choice == self.correct)

    @property
    def for_shown_first(self) -> float | None:
        """1 if the answer shown first was preferred, else 0; None if undecided or not known."""
        choice, shown = _CHOICE.get(self.verdict.preference), self.verdict.shown_first
        return None if choice is None or shown is None else float(choice == shown)

    @property
    def asked(self) -> tuple[str, int | None]:
        """What was judged, whatever the arm: the case, and which answer was shown first."""
        return self.id, self.verdict.shown_first

    @property
    def belief(self) -> float | None:
        """The last belief in the better answer; None if not stated or nobody knows."""
        return self._of_truth(self.verdict.belief)

    @property
    def beliefs(self) -> list[float | None]:
        """The belief in the better answer after 0, 1, … rounds; None where none was stated."""
        # A control is judged in round -1.
        turns = [t for t in self.verdict.transcript if t.side is None and t.round >= 0]
        stated = {t.round: self._of_truth(t.belief) for t in turns if t.problem is None}
        return [stated.get(r) for r in range(max(stated, default=-1) + 1)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that `read` reads; the critiques are in it as turns."""
        row = asdict(self)
        del row["verdict"]["critiques"]
        return row

    @staticmethod
    def read(row: Mapping[str, Any]) -> JudgedCase:
        """Return what `as_dict` gave; DataError where it is none."""
        try:
            return _FORM.validate_python(row)
        except ValidationError as error:
            fault = error.errors()[0]
            got = f"`{'.'.join(map(str, fault['loc']))}`: {fault['msg']}"
            must = "metrics.jsonl must be as `trueline judge` wrote it"
            raise DataError(must, got=got) from None

    def _of_truth(self, belief: float | None) -> float | None:
        if belief is None or self.correct is None:
            return None
        return 1 - belief if self.correct else belief


_FORM = TypeAdapter(JudgedCase)


def by_arm(rows: Sequence[JudgedCase]) -> dict[str, list[JudgedCase]]:
    """Return the rows of each arm, in order of appearance."""
    arms: dict[str, list[JudgedCase]] = {}
    for row in rows:
        arms.setdefault(row.protocol, []).append(row)
    return arms


def measure(rows: Sequence[JudgedCase], *, seed: int) -> dict[str, Any]:
    """Return everything that can be said of one arm."""
    rng = stream(seed, "recorded", rows[0].protocol)
    right = accuracy(rows)
    first = _share([(row.for_shown_first, row.group) for row in rows])
    undecided = [row.verdict.preference is Preference.UNDECIDED for row in rows]
    groups = [row.group for row in rows]
    some: dict[str, Any] = {"clusters": groups, "rng": rng, "bounds": (0.0, math.inf)}
    costs = {
        name: stats.mean([getattr(r.verdict.cost, name) for r in rows], **some)
        for name in ("calls", "tokens", "judge_s")
    }
    speeches = [t for row in rows for t in row.verdict.transcript if t.side is not None]
    reasons = Counter(row.verdict.reason for row in rows if row.verdict.reason)
    most = [f", most because: {reason}" for reason, _ in reasons.most_common(1)]
    unread = f"{sum(undecided)} of {len(rows)} verdicts are undecided{''.join(most)}"
    warnings = [unread] * (2 * sum(undecided) > len(rows)) + _leaning(first)
    return {
        "n": len(rows),
        "warning": "; ".join(warnings) or None,
        "accuracy": right,
        "shown_first": first,
        "same_answer": _share(_in_both_orders(rows)),
        "undecided": stats.accuracy(undecided, clusters=groups),
        "curve": belief_curve(rows),
        **_reliability(rows, rng),
        **costs,
        "failed": dict(reasons.most_common(5)),
        "problems": sum(bool(t.problem) and t.round >= 0 for t in speeches),
    }


def accuracy(rows: Sequence[JudgedCase]) -> Estimate:
    """Return the share right of those decided whose truth is known."""
    return _share([(row.right, row.group) for row in rows])


def _share(rows: Sequence[tuple[float | None, str]]) -> Estimate:
    """Return the mean of those that are known, each within [0, 1], by groups."""
    known = [(value, group) for value, group in rows if value is not None]
    return stats.accuracy([value for value, _ in known], clusters=[group for _, group in known])


def _in_both_orders(rows: Sequence[JudgedCase]) -> list[tuple[float | None, str]]:
    """Return for each case decided in both orders whether the same answer was preferred."""
    decided = {row.asked: row for row in rows if row.for_shown_first is not None}
    pairs = [(row, decided.get((row.id, 1))) for row in decided.values() if row.asked[1] == 0]
    return [
        (float(row.verdict.preference is other.verdict.preference), row.group)
        for row, other in pairs
        if other is not None
    ]


def _leaning(first: Estimate) -> list[str]:
    """Say that the judge goes by the place of an answer, where it does beyond doubt."""
    if first.value is None or first.lower is None or first.upper is None:
        return []
    if max(first.lower, 1 - first.upper) <= 0.5 or abs(first.value - 0.5) < LEAN:
        return []
    which, share = ("first", first.value) if first.value > 0.5 else ("second", 1 - first.value)
    said = f"the judge prefers the answer shown {which} in {share:.0%} of {first.n} decided cases"
    return [f"{said}: how often it is right says little of what it reads"]


def contrast(ours: Sequence[JudgedCase], theirs: Sequence[JudgedCase]) -> Estimate:
    """Return how much more often one arm is right than another, on what both decided."""
    others = {row.asked: row.right for row in theirs}
    pairs = [
        (row.right - other, row.group)
        for row in ours
        if row.right is not None and (other := others.get(row.asked)) is not None
    ]
    gaps, groups = [gap for gap, _ in pairs], [group for _, group in pairs]
    return stats.mean(gaps, clusters=groups, bounds=(-1.0, 1.0))


def contrasts(rows: Sequence[JudgedCase]) -> dict[str, Estimate]:
    """Compare each arm with the first, by a name such as "critique - direct"."""
    (first, base), *others = by_arm(rows).items()
    return {f"{arm} - {first}": contrast(some, base) for arm, some in others}


def samples(rows: Sequence[JudgedCase]) -> list[JudgedCase]:
    """Return of each arm where the judge went furthest astray and where it was most right."""
    shown: list[JudgedCase] = []
    for some in by_arm(rows).values():
        known = [(row.belief, row) for row in some if row.belief is not None]
        ordered = [row for _, row in sorted(known, key=lambda pair: pair[0])] or list(some)
        shown += [ordered[0], *ordered[1:][-1:]]
    return shown


def belief_curve(rows: Sequence[JudgedCase]) -> list[dict[str, float | int | None]]:
    """Return the mean belief in the better answer, round by round."""
    paths = [(row.beliefs, row.group) for row in rows if row.correct is not None]
    curve = []
    for r in range(max((len(path) for path, _ in paths), default=0)):
        held = [([p for p in path[: r + 1] if p is not None], group) for path, group in paths]
        known = [(path[-1], group) for path, group in held if path]
        curve.append({"round": r, **_share(known).as_dict()})
    return curve


def _reliability(rows: Sequence[JudgedCase], rng: Rng) -> dict[str, Any]:
    """Return calibration error, Brier score and bins of the last belief stated."""
    known = [(row.belief, row.group) for row in rows if row.belief is not None]
    sure = np.array([max(p, 1 - p) for p, _ in known])
    right = np.array([0.5 if p == 0.5 else float(p > 0.5) for p, _ in known])
    groups = [group for _, group in known]
    return {
        "calibration_error": stats.calibration_error(sure, right, 5, clusters=groups, rng=rng),
        "brier": stats.mean((sure - right) ** 2, clusters=groups, bounds=(0.0, 1.0)),
        "bins": [found.as_dict() for found in stats.reliability(sure, right, 5)],
    }
