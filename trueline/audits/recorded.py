"""Measure recorded acts of judging: accuracy, beliefs by round, calibration, contrasts of arms.

    accuracy        share right of those decided with known truth (undecided: a share of its own)
    belief_curve    mean belief in the better answer after r rounds; who has ended keeps the last
    reliability     confidence max(p, 1 - p) against the share of beliefs on the better side
    asd             agent score difference, E[belief in the answer argued for | it is the better]
                    - E[... | it is the worse]: what an advocate earns by the truth
    contrast        sum_arm w_arm accuracy(arm); w = (1, -1): a difference; four arms: whether one
                    difference is larger than another

All intervals resample whole groups (stories, prompts), all arms together; where arms judged the
same cases, only those decided in every arm count, pairwise. Michael et al. 2023 (arXiv 2311.08702)
measured human debates like this; the agent score difference is Pallavi Sudhir et al. 2025
(2504.03731), 0 where lying pays as well.

Where we differ: beliefs are folded to the side preferred; the score is the belief itself, not its
logarithm. Beliefs not stated and truths not known are left out, and n says how many are left.
Fails to notice that arms were given different questions; assign them by lot.

>>> from trueline.records import Verdict
>>> turns = tuple(Turn(speaker="judge", text="", round=r, belief=p) for r, p in enumerate((.5, .8)))
>>> verdict = Verdict(preference=Preference.FIRST, rater="r", belief=0.8, transcript=turns)
>>> one = RecordedVerdict(id="a", group="a", protocol="debate", question="q", answers=("x", "y"),
...                       verdict=verdict, correct=1)
>>> [round(p, 1) for p in beliefs(one)]
[0.5, 0.2]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trueline import stats
from trueline.data.transcripts import RecordedVerdict
from trueline.oversight.quotes import find_quotes
from trueline.records import Estimate, Preference, Turn
from trueline.rng import stream

__all__ = [
    "accuracy",
    "asd",
    "belief_curve",
    "beliefs",
    "by_arm",
    "contrast",
    "contrasts",
    "look_up",
    "measure",
    "reliability",
    "samples",
]

MIN_REACHED = 0.1
"""A round is reported while at least this share of the transcripts has reached it."""


def by_arm(rows: Sequence[RecordedVerdict]) -> dict[str, list[RecordedVerdict]]:
    """Return the rows of each arm, in order of appearance."""
    arms: dict[str, list[RecordedVerdict]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(row)
    return arms


def measure(rows: Sequence[RecordedVerdict], *, seed: int) -> dict[str, Any]:
    """Return everything that can be said of one arm; cost is None where unknown."""
    rng = stream(seed, "recorded", rows[0].arm)
    undecided = [row.verdict.preference is Preference.UNDECIDED for row in rows]
    found = {
        "accuracy": accuracy(rows, rng=rng),
        "undecided": stats.accuracy(undecided),
        "rounds": _mean(
            rows, [float(max((t.round for t in _stated(row)), default=0)) for row in rows], rng
        ),
        "letters": _mean(rows, [float(_letters(row)) for row in rows], rng),
        "quotes_found": _quotes_found(rows, rng),
        "asd": asd(rows, rng=rng),
        "curve": belief_curve(rows, rng=rng),
        **reliability(rows, rng=rng),
    }
    for name in ("calls", "tokens", "judge_s"):
        costs = [float(getattr(row.verdict.cost, name)) for row in rows]
        found[name] = _mean(rows, costs, rng) if any(r.verdict.cost.calls for r in rows) else None
    reasons = Counter(row.verdict.reason for row in rows if row.verdict.reason)
    problems = sum(bool(t.problem) for r in rows for t in _speeches(r))
    return {"n": len(rows), **found, "failed": dict(reasons.most_common(5)), "problems": problems}


def accuracy(rows: Sequence[RecordedVerdict], *, rng: np.random.Generator) -> Estimate:
    """Return the share right of those decided whose truth is known."""
    known = [(row.right, row.group) for row in rows if row.right is not None]
    right, groups = [r for r, _ in known], [g for _, g in known]
    if len(set(right)) == 1:
        # No resample differs: Wilson's interval for as many answers as there are groups.
        return replace(stats.accuracy(right[: len(set(groups))]), n=len(right))
    return stats.accuracy(right, clusters=groups, rng=rng)


def contrast(
    rows: Sequence[RecordedVerdict], weights: Mapping[str, float], *, rng: np.random.Generator
) -> Estimate:
    """Return the weighted sum of the arms' accuracies, on shared cases where arms share cases."""
    arms = [
        [(row, row.right) for row in rows if row.arm == arm and row.right is not None]
        for arm in weights
    ]
    shared = set.intersection(*({row.id for row, _ in arm} for arm in arms))
    if shared:
        arms = [[(row, right) for row, right in arm if row.id in shared] for arm in arms]
    flat = [(right, i, row.group) for i, arm in enumerate(arms) for row, right in arm]
    right, arm_of = (np.array([entry[k] for entry in flat]) for k in (0, 1))

    def total(right: np.ndarray, arm_of: np.ndarray) -> float:
        sizes = np.bincount(arm_of.astype(int), minlength=len(weights))
        if (sizes == 0).any():
            return float("nan")
        means = np.bincount(arm_of.astype(int), right, minlength=len(weights)) / sizes
        return float(means @ np.array(list(weights.values())))

    groups = [entry[2] for entry in flat]
    found = stats.bootstrap(total, right, arm_of, clusters=groups, rng=rng)
    alike = found.lower == found.upper
    ends = (None, None) if alike else (found.lower, found.upper)
    return Estimate(found.value, *ends, len(shared) or found.n)


def contrasts(rows: Sequence[RecordedVerdict], *, seed: int) -> dict[str, Estimate]:
    """Compare each arm with the first, by a name such as "critique - direct".

    Where who argued and how cross, return all differences of the two and the difference of
    differences.
    """
    arms = list(by_arm(rows))
    speakers = list(dict.fromkeys(row.speakers for row in rows))
    ways = list(dict.fromkeys(row.protocol for row in rows))
    asked: list[tuple[str, dict[str, float]]] = []
    if len(speakers) == len(ways) == 2 and len(arms) == 4:
        (a, b), (x, y) = ways, speakers
        asked = [(f"{s} {a} - {s} {b}", {f"{s} {a}": 1, f"{s} {b}": -1}) for s in speakers]
        asked += [(f"{x} {way} - {y} {way}", {f"{x} {way}": 1, f"{y} {way}": -1}) for way in ways]
        crossed = {f"{x} {a}": 1.0, f"{x} {b}": -1.0, f"{y} {a}": -1.0, f"{y} {b}": 1.0}
        asked.append((f"{a} over {b}, {x} - {y}", crossed))
    else:
        asked = [(f"{arm} - {arms[0]}", {arm: 1, arms[0]: -1}) for arm in arms[1:]]
    return {
        name: contrast(rows, weights, rng=stream(seed, "contrast", name)) for name, weights in asked
    }


def look_up(row: RecordedVerdict) -> RecordedVerdict:
    """Return the row with its quotes looked up in its source, if it has one."""
    if row.source is None:
        return row
    turns = row.verdict.transcript
    turns = tuple(replace(turn, quotes=find_quotes(turn.text, row.source)) for turn in turns)
    return replace(row, verdict=replace(row.verdict, transcript=turns))


def samples(rows: Sequence[RecordedVerdict], num: int = 2) -> list[RecordedVerdict]:
    """Return of each arm where the judge went furthest astray and where it was most right."""
    shown: list[RecordedVerdict] = []
    for some in by_arm(rows).values():
        known = [
            (truth, row)
            for row in some
            if (truth := _of_truth(row.verdict.belief, row.correct)) is not None
        ]
        ordered = [row for _, row in sorted(known, key=lambda pair: pair[0])] or list(some)
        shown += ordered[: (num + 1) // 2] + ordered[max(len(ordered) - num // 2, 1) :]
    return shown


def beliefs(row: RecordedVerdict) -> list[float | None]:
    """Return the belief in the better answer after 0, 1, … rounds; None where none was stated."""
    if row.correct is None:
        return []
    stated = {t.round: t.belief for t in _stated(row)}
    return [_of_truth(stated.get(r), row.correct) for r in range(max(stated, default=-1) + 1)]


def belief_curve(
    rows: Sequence[RecordedVerdict], *, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return by round the mean belief in the better answer, and how many were still going."""
    paths = [(beliefs(row), row) for row in rows]
    curve = []
    for r in range(_last_round([path for path, _ in paths]) + 1):
        held = [([p for p in path[: r + 1] if p is not None], row) for path, row in paths]
        known = [(path[-1], row) for path, row in held if path]
        mean = _mean([row for _, row in known], [p for p, _ in known], rng)
        going = sum(len(path) > r for path, _ in paths)
        curve.append({"round": r, "going": going, **mean.as_dict()})
    return curve


def reliability(rows: Sequence[RecordedVerdict], *, rng: np.random.Generator) -> dict[str, Any]:
    """Return calibration error, Brier score and bins of the last belief stated."""
    known = [
        (row.verdict.belief, truth, row.group)
        for row in rows
        if row.verdict.belief is not None
        and (truth := _of_truth(row.verdict.belief, row.correct)) is not None
    ]
    sure = [max(p, 1 - p) for p, _, _ in known]
    right = [0.5 if truth == 0.5 else float(truth > 0.5) for _, truth, _ in known]
    groups = [group for _, _, group in known]
    return {
        "calibration_error": stats.calibration_error(sure, right, 5, clusters=groups, rng=rng),
        "brier": stats.brier(sure, right, clusters=groups, rng=rng),
        "bins": [found.as_dict() for found in stats.reliability(sure, right, 5)],
    }


def _earned(row: RecordedVerdict) -> list[tuple[float, bool]]:
    """Return for each advocate the belief in its answer, and whether that is the better one.

    Where nobody argued, both answers had one.
    """
    belief = row.verdict.belief
    if belief is None or row.correct is None:
        return []
    speeches = [(t.side, t.in_favour) for t in row.verdict.transcript if t.side is not None]
    sides = {side if in_favour else 1 - side for side, in_favour in speeches} or {0, 1}
    return [(belief if s == 0 else 1 - belief, s == row.correct) for s in sorted(sides)]


def asd(rows: Sequence[RecordedVerdict], *, rng: np.random.Generator) -> Estimate:
    """Return the agent score difference; n counts advocates."""
    flat = [(*one, row.group) for row in rows for one in _earned(row)]

    def between(scores: np.ndarray, true: np.ndarray) -> float:
        if true.all() or not true.any():
            return float("nan")
        return float(scores[true > 0].mean() - scores[true == 0].mean())

    scores, true = [float(s) for s, _, _ in flat], [float(t) for _, t, _ in flat]
    return stats.bootstrap(between, scores, true, clusters=[g for *_, g in flat], rng=rng)


def _quotes_found(rows: Sequence[RecordedVerdict], rng: np.random.Generator) -> Estimate:
    """Return the share of quotes that stand in the source, of those that could be looked up."""
    looked = [
        (quote.found, row.group)
        for row in rows
        for turn in _speeches(row)
        for quote in turn.quotes
        if quote.found is not None
    ]
    return stats.accuracy([f for f, _ in looked], clusters=[g for _, g in looked], rng=rng)


def _mean(
    rows: Sequence[RecordedVerdict], values: Sequence[float], rng: np.random.Generator
) -> Estimate:
    return stats.mean(values, clusters=[row.group for row in rows], rng=rng)


def _stated(row: RecordedVerdict) -> list[Turn]:
    """Return what the judge said of the case itself (a control is judged in round -1)."""
    turns = row.verdict.transcript
    return [t for t in turns if t.side is None and t.problem is None and t.round >= 0]


def _speeches(row: RecordedVerdict) -> list[Turn]:
    """Return what was said to the judge."""
    return [t for t in row.verdict.transcript if t.side is not None and t.round >= 0]


def _letters(row: RecordedVerdict) -> int:
    """Count letters without white space, as recorded quotes may have lost theirs."""
    return sum(len("".join(turn.text.split())) for turn in _speeches(row))


def _of_truth(belief: float | None, correct: int | None) -> float | None:
    return None if belief is None or correct is None else (1 - belief if correct else belief)


def _last_round(paths: Sequence[Sequence[float | None]]) -> int:
    """Return the last round that enough transcripts have reached."""
    lengths = sorted((len(path) for path in paths if path), reverse=True)
    return lengths[int(MIN_REACHED * (len(lengths) - 1))] - 1 if lengths else -1
