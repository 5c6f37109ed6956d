"""Raise helpers level by level on judgements of ever larger parts.

    level k = Bayesian reward on the trunk's readings of parts of 2^k steps, fitted on labels[k]
              judgements that were helped by the levels below (`trueline.oversight.recursive`)

Leike et al. 2018 (arXiv 1811.07871). `raise_on_sums` is one call: a trunk, a judge and a budget of
labels a level. Judges of one look are right about 0.55, 0.59, 0.70 and 0.89 of chains of 16 steps
at depths 1 to 4, unaided in the same seconds about 0.52, with 50 labels a level; helpers raised on
unaided judgements give 0.71, the lowest level alone at all sizes 0.91 (docs/log.md).

Fails as the trunk does: without its surprisals no level learns to point, the labels of the next
sink to those of unaided judges, and depth buys nothing (0.51).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trueline.oversight.recursive import Division, HelperLevels, Recursive, middle_of
from trueline.protocols import Rater
from trueline.records import Case, Comparison, Cost, Critique, Flaw, Preference, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import Reader
from trueline.worlds.sums.flaws import draw_cases
from trueline.worlds.sums.spans import Spans

__all__ = ["BisectionHelper", "RaisedHelpers", "raise_on_sums"]


@dataclass(frozen=True, kw_only=True)
class BisectionHelper:
    """One level of help: say which half of an answer is worth less."""

    score: Callable[[Sequence[Response]], Sequence[float]]
    """How good each part is; only the order matters."""
    division: Division
    name: str = "bisection"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """Name the first piece of each answer's worse half; of a single piece nothing."""
        counts = [self.division.count(response) for response in responses]
        halves = [
            self.division.part(response, start, stop)
            for response, count in zip(responses, counts, strict=True)
            for start, stop in ((0, middle_of(0, count)), (middle_of(0, count), count))
            if count > 1
        ]
        values = iter(self.score(halves))
        critiques = []
        for response, count in zip(responses, counts, strict=True):
            flaws: tuple[Flaw, ...] = ()
            if count > 1:
                first, second = next(values), next(values)
                second_worse = rng.random() < 0.5 if first == second else second < first
                flaws = (Flaw(kind="suspect", step=middle_of(0, count) if second_worse else 0),)
            text = f"worse from {flaws[0].step}" if flaws else "one piece"
            critiques.append(Critique(response=response, text=text, flaws=flaws, helper=self.name))
        return critiques


@dataclass(frozen=True, kw_only=True)
class RaisedHelpers:
    """Helpers by level, and what raising them took."""

    helper: HelperLevels
    num_labels: tuple[int, ...] = ()
    """Labels spent on each level; the undecided taught nothing."""
    cost: Cost = field(default_factory=Cost)


def raise_on_sums(
    trunk: Reader, *, judge: Rater, labels: Sequence[int], rng: np.random.Generator
) -> RaisedHelpers:
    """Raise helpers for worked sums, one level after another.

    `labels[k]` judgements of parts of 2^k steps teach level k, helped by the levels below.
    """
    raised = RaisedHelpers(helper=HelperLevels(division=Spans()))
    for k, budget in enumerate(labels):
        drawing, judging, learning = rng.spawn(3)
        cases, helper = draw_cases(2**k, budget, drawing), raised.helper
        comparisons, cost = _judge_parts(cases, Recursive(depth=k), helper, judge, judging)
        level = _learn(trunk, comparisons, learning)
        raised = RaisedHelpers(
            helper=replace(helper, levels=(*helper.levels, level)),
            num_labels=(*raised.num_labels, len(cases)),
            cost=raised.cost + cost,
        )
    return raised


def _judge_parts(
    cases: Sequence[Case],
    protocol: Recursive,
    helper: HelperLevels,
    judge: Rater,
    rng: np.random.Generator,
) -> tuple[list[Comparison], Cost]:
    """Judge every case once, without what stands around its pieces, each by its own stream."""
    comparisons, cost, division = [], Cost(), helper.division
    for case, own in zip(cases, rng.spawn(len(cases)), strict=True):
        first, second = (division.part(r, 0, division.count(r)) for r in case.responses)
        bare = Case(first=first, second=second)
        verdict = protocol.judge(bare, helper=helper, judge=judge, rng=own)
        cost += verdict.cost
        if verdict.preference is not Preference.UNDECIDED:
            ordered = bare if verdict.preference is Preference.FIRST else bare.mirrored
            comparisons.append(
                Comparison(chosen=ordered.first, rejected=ordered.second, rater=verdict.rater)
            )
    return comparisons, cost


def _learn(
    trunk: Reader, comparisons: Sequence[Comparison], rng: np.random.Generator
) -> BisectionHelper:
    """Return what points by a Bayesian reward on the trunk's readings of judged parts."""
    readings = trunk.read([r for c in comparisons for r in (c.chosen, c.rejected)])
    reward = Bayesian().fit(readings, comparisons, rng=rng)
    known: dict[str, float] = {}

    def score(parts: Sequence[Response]) -> list[float]:
        # Kept, so that no part is read twice by one level.
        new = list({p.key: p for p in parts if p.key not in known}.values())
        if new:
            values = reward.score(trunk.read(new)).to_pick("mean")
            known.update(zip((p.key for p in new), values.tolist(), strict=True))
        return [known[p.key] for p in parts]

    return BisectionHelper(score=score, division=Spans())
