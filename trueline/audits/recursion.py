"""Raise helpers level by level on judgements of ever larger parts.

    level k = Bayesian reward on the trunk's readings of parts of 2^k steps, fitted on labels[k]
              judgements that were helped by the levels below (`trueline.oversight.recursive`)

Leike et al. 2018 (arXiv 1811.07871). `raise_on_sums` is one call: a trunk, a judge and a budget of
labels a level. What depth buys is in docs/log.md.

Fails as the trunk does: without its surprisals no level learns to point, the labels of the next
sink to those of unaided judges, and depth buys nothing (0.51).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trueline.oversight.recursive import Division, HelperLevels, Recursive, middle_of
from trueline.protocols import Rater
from trueline.records import Case, Comparison, Cost, Critique, Flaw, Preference, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import Reader
from trueline.rng import Rng
from trueline.worlds.sums.flaws import draw_cases
from trueline.worlds.sums.spans import Spans

__all__ = ["BisectionHelper", "raise_on_sums"]


@dataclass(frozen=True, kw_only=True)
class BisectionHelper:
    """One level of help: say which half of an answer is worth less."""

    score: Callable[[Sequence[Response]], Sequence[float]]
    """How good each part is; only the order matters."""
    division: Division

    def critique(self, responses: Sequence[Response], *, rng: Rng) -> list[Critique]:
        """Name the first piece of the worse half of each answer, which has two pieces or more."""
        critiques = []
        for response in responses:
            count = self.division.count(response)
            middle = middle_of(0, count)
            bounds = ((0, middle), (middle, count))
            first, second = self.score([self.division.part(response, *ends) for ends in bounds])
            second_worse = rng.random() < 0.5 if first == second else second < first
            step = middle if second_worse else 0
            critiques.append(
                Critique(
                    response=response,
                    text=f"worse from {step}",
                    flaws=(Flaw(kind="suspect", step=step),),
                    helper="bisection",
                )
            )
        return critiques


def raise_on_sums(
    trunk: Reader, *, judge: Rater, labels: Sequence[int], rng: Rng
) -> tuple[HelperLevels, Cost]:
    """Raise helpers for worked sums, one level after another; return them and what judging cost.

    `labels[k]` judgements of parts of 2^k steps teach level k, helped by the levels below. Each is
    made without what stands around the pieces, and by its own stream; the undecided teach nothing.
    """
    division, total = Spans(), Cost()
    helper = HelperLevels(division=division)
    for k, budget in enumerate(labels):
        drawing, judging, learning = rng.spawn(3)
        cases, comparisons = draw_cases(2**k, budget, drawing), []
        for case, own in zip(cases, judging.spawn(len(cases)), strict=True):
            first, second = (division.part(r, 0, division.count(r)) for r in case.responses)
            bare = Case(first=first, second=second)
            verdict = Recursive(depth=k).judge(bare, helper=helper, judge=judge, rng=own)
            total += verdict.cost
            if verdict.preference is not Preference.UNDECIDED:
                won = bare if verdict.preference is Preference.FIRST else bare.mirrored
                comparisons.append(
                    Comparison(chosen=won.first, rejected=won.second, rater=verdict.rater)
                )
        level = _learn(trunk, comparisons, learning)
        helper = replace(helper, levels=(*helper.levels, level))
    return helper, total


def _learn(trunk: Reader, comparisons: Sequence[Comparison], rng: Rng) -> BisectionHelper:
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
