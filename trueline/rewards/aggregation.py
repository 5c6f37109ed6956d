"""Whose values: one reward of many raters, of whom some are careless and some want other things.

    reliability   p(chosen ≻ rejected | rater r) = σ(τ_r · margin)                      (`raters`)
    groups        a reward each, pooled towards the shared one; mean or worst of them   (`groups`)
    ties          a tie is the pair both ways round: −log σ(m) − log σ(−m) is least at m = 0

A rater's temperature stays positive, so somebody worse than chance is not turned round but
*reported*: `metadata["raters"]` gives each rater's left-out agreement (how often the posterior of
all other comparisons ranks theirs right, LA-LOO as in `raters`), and
`metadata["worse_than_chance"]` those whose interval lies below one half.

With groups="none", or one group, this is the inner head exactly. Groups need a head with a linear
reward (`Bayesian`, `Conservative` of it). Fails where a group is too small to be told from noise:
then ρ is small and the objectives agree.

>>> Aggregation(groups={"ann": "here", "bob": "there"}, objective="worst").objective
'worst'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons, group_of
from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.fitted import FittedReward
from trueline.rewards.groups import GroupedReward, owners, pooled
from trueline.rewards.laplace import bradley_terry
from trueline.rewards.protocols import Head
from trueline.rewards.raters import left_out_margins
from trueline.rewards.training import Training

__all__ = ["Aggregation", "both_ways", "ratings"]


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """Any head, for many raters."""

    head: Head = field(default_factory=Bayesian)
    """The head that learns."""
    groups: Mapping[str, str] | str = "none"
    """Rater to group, or "none": all raters want the same."""
    objective: str = "mean"
    """"mean" or "worst" of the groups' rewards."""

    def __post_init__(self) -> None:
        if self.objective not in ("mean", "worst"):
            raise InputError('objective must be "mean" or "worst"', got=repr(self.objective))
        if isinstance(self.groups, str) and self.groups != "none":
            raise InputError('groups must name every rater, or be "none"', got=repr(self.groups))
        if not isinstance(self.groups, str) and {"mean", "worst"} & set(self.groups.values()):
            raise InputError('no group may be called "mean" or "worst"', got="one that is")

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> GroupedReward:
        """The rewards given these comparisons, ties included, under the objective."""
        given = both_ways(comparisons)
        groups = {} if isinstance(self.groups, str) else dict(self.groups)
        names = sorted({groups[c.rater] for c in given if c.rater in groups})
        shared = self.head.fit(readings, given, rng=rng)
        reward = GroupedReward(shared=shared, objective=self.objective, groups=groups)
        linear = isinstance(shared, FittedReward) and "blocks" in shared.metadata
        if len(names) > 1 and not linear:
            raise InputError(
                "groups need a head with a linear reward and precisions of its own",
                got=type(self.head).__name__,
                do="aggregate Bayesian or Conservative",
            )
        if not isinstance(shared, FittedReward):
            return reward
        training = Training.of(readings, given)
        training.set_temperatures(shared.temperatures)
        if groups:
            owner = owners(training.raters, groups, names)
        if len(names) > 1:
            reward.joint, reward.metadata["pooling"] = pooled(shared, training, owner, names)
        reward.metadata |= _reliability(training, reward)
        return reward


def both_ways(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """The comparisons with every tie as the pair both ways round."""
    ties = getattr(comparisons, "ties", ())
    if not ties:
        return comparisons
    back = (
        Comparison(chosen=t.rejected, rejected=t.chosen, rater=t.rater, round=t.round) for t in ties
    )
    return Comparisons((*comparisons, *ties, *back))


def ratings(
    comparisons: Sequence[Comparison],
) -> tuple[list[list[float | None]], list[str], list[str]]:
    """What every rater said of every pair, [U, R], for `stats.alpha` and `against_rest`: 1 and
    0 for the pair's one and other side, 0.5 for a tie, the mean where a rater was asked again, None
    where not. With it, each pair's prompt group [U] and the raters' names [R]."""
    given, names = both_ways(comparisons), sorted({c.rater for c in both_ways(comparisons)})
    said: dict[tuple[str, str], dict[str, list[float]]] = {}
    groups: dict[tuple[str, str], str] = {}
    for c in given:
        low, high = sorted((c.chosen.key, c.rejected.key))
        votes = said.setdefault((low, high), {})
        votes.setdefault(c.rater, []).append(0.5 if low == high else float(c.chosen.key == low))
        groups[low, high] = group_of(c.prompt)
    table = [[float(np.mean(v[r])) if r in v else None for r in names] for v in said.values()]
    return table, list(groups.values()), names


def _reliability(training: Training, reward: GroupedReward) -> dict[str, Any]:
    """What metadata says of every rater, from left-out margins on pairs that are no tie."""
    rows, found = training.differences(reward.linear.features), reward.joint or reward.linear
    if reward.joint is not None:
        owner = owners(training.raters, reward.groups, reward.joint.names)
        rows = reward.joint.rows(rows, np.eye(len(reward.joint.names))[owner])
    margins = rows @ found.weights
    terms = bradley_terry(margins, found.label_noise)
    right = left_out_margins(margins, found.belief.var(rows), terms) > 0
    ends = list(zip(training.chosen, training.rejected, training.raters, strict=True))
    said = set(ends)
    decided = np.array([(second, first, rater) not in said for first, second, rater in ends])
    raters: dict[str, Any] = {}
    names = np.asarray(training.raters)
    for rater in sorted(set(training.raters)):
        mine = names == rater
        raters[rater] = {
            "group": reward.groups.get(rater, "all"),
            "n": int(mine.sum()),
            "temperature": found.temperatures.get(rater, 1.0),
            "left_out": stats.accuracy(right[mine & decided].astype(float)).as_dict(),
        }
    uppers = {rater: row["left_out"]["upper"] for rater, row in raters.items()}
    below = [rater for rater, upper in uppers.items() if upper is not None and upper < 0.5]
    return {"raters": raters, "worse_than_chance": below}
