"""Raises helpers for worked sums level by level, and measures how well each of them points.

    level k = Bayesian reward on the trunk's readings of parts of 2^k steps (worlds.sums.spans),
              fitted on labels[k] judgements helped by the levels below (oversight.recursive)

Leike et al. 2018, 1811.07871. `raise_on_sums` is one call: a trunk, a judge and a budget of labels
a level. Readings of parts are kept, so that no part is read twice by one level.

Judges of one look are right about 0.55, 0.59, 0.70 and 0.89 of chains of 16 steps at depths 1 to 4,
unaided in the same seconds about 0.52, with 50 labels a level; helpers raised on unaided judgements
give 0.71, the lowest level alone at all sizes 0.91 (benchmarks/oversight_recursion.py).

It fails as the trunk does: without its surprisals no level learns to point, the labels of the next
sink to those of unaided judges, and depth buys nothing (0.51).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trueline import stats
from trueline.oversight.recursive import Division, Learn, Pointer, Raised, raise_helpers
from trueline.protocols import Helper, Rater
from trueline.records import Case, Comparison, Estimate, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import Reader
from trueline.worlds.sums.flaws import true_flaws
from trueline.worlds.sums.spans import Spans, draw_cases

__all__ = ["learner", "pointing", "raise_on_sums"]


def raise_on_sums(
    trunk: Reader, *, judge: Rater, labels: Sequence[int], rng: np.random.Generator
) -> Raised:
    """`labels[k]` judgements raise level k; so many levels cover chains of 2^len(labels) steps."""
    return raise_helpers(
        draw=draw_cases,
        learn=learner(trunk, Spans()),
        judge=judge,
        labels=labels,
        division=Spans(),
        rng=rng,
    )


def learner(trunk: Reader, division: Division) -> Learn:
    """Learns to point from judged parts: a Bayesian reward on the trunk's readings."""

    def learn(comparisons: Sequence[Comparison], rng: np.random.Generator) -> Helper:
        read = trunk.read([r for c in comparisons for r in (c.chosen, c.rejected)])
        reward = Bayesian().fit(read, comparisons, rng=rng)
        known: dict[str, float] = {}

        def score(parts: Sequence[Response]) -> list[float]:
            new = list({p.key: p for p in parts if p.key not in known}.values())
            if new:
                values = reward.score(trunk.read(new)).to_pick("mean")
                known.update(zip((p.key for p in new), values.tolist(), strict=True))
            return [known[p.key] for p in parts]

        return Pointer(score=score, division=division)

    return learn


def pointing(helper: Helper, cases: Sequence[Case], *, rng: np.random.Generator) -> Estimate:
    """How often it points to the half of a flawed answer in which its first wrong step lies; where
    it names no piece, a half."""
    both = [response for case in cases for response in case.responses]
    wrong = [
        [f.step for f in true_flaws(r) if f.kind == "wrong_step" and f.step is not None]
        for r in both
    ]
    flawed = [(r, steps[0]) for r, steps in zip(both, wrong, strict=True) if steps]
    hits = []
    said = helper.critique([r for r, _ in flawed], rng=rng)
    for (response, step), critique in zip(flawed, said, strict=True):
        middle = (Spans().count(response) + 1) // 2
        named = [f.step < middle for f in critique.flaws or () if f.step is not None]
        hits.append(float(named[0] == (step < middle)) if named else 0.5)
    return stats.accuracy(hits)
