"""Does a reward rank what people prefer whom it never heard? Held-out raters and prompts.

    unknown: fitted on other raters and other prompts      known: on other prompts, any rater
    gap = accuracy(known) − accuracy(unknown), on the same comparisons, from equally many

InstructGPT's reward model lost 2.8 points that way (72.4 to 69.6 %, Ouyang et al. 2022,
2203.02155, there with unequal training sets). Raters and prompts are cut into folds each; a cell
of the two cuts is tested by fits that saw neither its raters nor its prompts, and the known fit
draws from all raters as many rows as the unknown one had. Intervals resample raters and prompts at
once (the pigeonhole bootstrap of Owen 2007, which errs on the wide side) and are expanded for few
clusters of either kind: with three raters almost nothing can be said of raters at large.

Shapes: N comparisons; ties of the training folds are used by heads that know them. Fails where
raters rated different things: the gap then holds the prompts' difference too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.data.comparisons import Comparisons, group_of, make_folds
from trueline.models.reading import Readings
from trueline.records import Estimate
from trueline.rewards.protocols import Head
from trueline.stats.resampling import codes, from_replicates

__all__ = ["RaterValidation", "held_out_raters", "two_way_mean"]

NUM_RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class RaterValidation:
    """Both accuracies, their gap, and the rows they rest on."""

    known: Estimate
    unknown: Estimate
    gap: Estimate
    correct_known: np.ndarray
    """[N], 1, 0, or 0.5 for an equal margin; NaN for a row that no fold tested."""
    correct_unknown: np.ndarray


def held_out_raters(
    head: Head,
    readings: Readings,
    comparisons: Comparisons,
    *,
    rater_folds: int = 3,
    prompt_folds: int = 3,
    rng: np.random.Generator,
) -> RaterValidation:
    """Two fits for every cell of rater folds × prompt folds."""
    raters, groups = [c.rater for c in comparisons], comparisons.groups
    right = np.full((2, len(comparisons)), np.nan)
    rater_parts = make_folds(raters, rater_folds, rng)
    prompt_parts = make_folds(groups, prompt_folds, rng)
    for others, mine in rater_parts:
        for elsewhere, here in prompt_parts:
            test, strict = np.intersect1d(mine, here), np.intersect1d(others, elsewhere)
            if not len(test) or not len(strict):
                continue
            drawn = np.sort(rng.choice(elsewhere, len(strict), replace=False))
            away, seen = {groups[i] for i in elsewhere}, {raters[i] for i in others}
            ties = [t for t in comparisons.ties if group_of(t.prompt) in away]
            unknown_ties = [t for t in ties if t.rater in seen]
            some = rng.permutation(len(ties))[: len(unknown_ties)]
            known_ties = [ties[i] for i in some]
            for row, rows, kept in ((0, drawn, known_ties), (1, strict, unknown_ties)):
                part = Comparisons(comparisons.take(rows).rows, ties=tuple(kept))
                fitted = head.fit(readings, part, rng=rng)
                ends = (comparisons.chosen_keys, comparisons.rejected_keys)
                first, second = (readings.rows([keys[i] for i in test]) for keys in ends)
                margins, _ = fitted.margin(readings, first, second)
                right[row, test] = (np.sign(margins) + 1.0) / 2.0
    tested = np.isfinite(right[0])
    by = ([raters[i] for i in np.flatnonzero(tested)], [groups[i] for i in np.flatnonzero(tested)])
    known, unknown = right[:, tested]
    return RaterValidation(
        known=two_way_mean(known, *by, rng=rng),
        unknown=two_way_mean(unknown, *by, rng=rng),
        gap=two_way_mean(known - unknown, *by, rng=rng),
        correct_known=right[0],
        correct_unknown=right[1],
    )


def two_way_mean(
    values: np.ndarray, first: list[str], second: list[str], *, rng: np.random.Generator
) -> Estimate:
    """A mean [N] whose interval resamples two crossed kinds of clusters at once.

    >>> x = np.array([1.0, 0.0, 1.0, 1.0])
    >>> rng = np.random.default_rng(0)
    >>> two_way_mean(x, ["a", "a", "b", "b"], ["p", "q", "p", "q"], rng=rng).value
    0.75
    """
    if not len(values):
        return Estimate(None, None, None, 0)
    rows, columns = codes(first, len(values)), codes(second, len(values))
    sizes = int(rows.max()) + 1, int(columns.max()) + 1
    sums, counts = np.zeros(sizes), np.zeros(sizes)
    np.add.at(sums, (rows, columns), values)
    np.add.at(counts, (rows, columns), 1.0)
    up, across = (rng.multinomial(s, np.full(s, 1 / s), size=NUM_RESAMPLES) for s in sizes)
    total, number = (((up @ cells) * across).sum(1) for cells in (sums, counts))
    with np.errstate(invalid="ignore"):
        replicates = total / number
    return from_replicates(float(values.mean()), replicates, num_clusters=min(sizes), n=len(values))
