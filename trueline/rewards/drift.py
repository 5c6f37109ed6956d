"""Whether what raters want has changed over time, who changed, and how much of the past to keep.

    g_i = s_i d_i             score of comparison i at a reward fitted blind to time
    C_k = Σ_{i in blocks ≤ k} (g_i − ḡ),     statistic = max_k |C_k|² / (n π_k (1 − π_k))

s_i is the slope of the log-likelihood, d_i the difference of standardised features, π_k the share
of comparisons up to block k. It is a sup-LM test of constant parameters (Nyblom 1989; Andrews
1993). Its null distribution is by shuffling times within every rater: exact, whatever the fit,
where a rater's comparisons are exchangeable, and untouched by a change in who rates.

`drift` gives one p-value for all and one, Holm-adjusted, for every rater of 20 comparisons and
more. `forget` asks what to do about it: which share of the past, up to now, foretells the latest
comparisons best, by held-out log loss; prompts of the tested rows are in no training set.

Where we differ: not the inverse information but the features' own scale is the metric, so that
directions which hardly vary do not drown the others, and the 50 leading ones stand for all. Time is
`Comparison.round`, or the order given where there is one round only. Fails to tell a change of
wants from a change of what is shown: a policy that has moved asks about other answers, and
a reward that is wrong there looks like drift; compare rounds of one policy, or mixed ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons
from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Comparison, Estimate
from trueline.rewards.fitted import FittedReward
from trueline.rewards.laplace import bradley_terry
from trueline.rewards.protocols import Fitted, Head
from trueline.rewards.raters import MIN_COMPARISONS

__all__ = ["Drift", "Forgetting", "drift", "forget", "shift_p_value"]

DIRECTIONS = 50
BLOCKS = 10


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What was found; p-values are None where nothing could be tested."""

    p: float | None
    since: int | None
    """Round (or row, where all are of one round) from which the largest difference counts."""
    by_rater: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """How well each share of the past, the latest part of it, foretells the latest comparisons."""

    share: float
    """The one of smallest log loss."""
    loss: dict[float, Estimate]
    """Nats per comparison."""
    accuracy: dict[float, Estimate]
    late_over_early: Estimate
    """Accuracy of a fit on the latest half less that of one on the earliest half."""
    reward: Fitted
    """Fitted on that share of everything given, the tested rows included."""


def drift(
    reward: FittedReward,
    readings: Readings,
    comparisons: Sequence[Comparison],
    *,
    rng: np.random.Generator,
    num_permutations: int = 999,
) -> Drift:
    """Tests on the comparisons that `reward` was fitted on, all at once."""
    times = _times(comparisons)
    features = reward.features
    first, second = (
        features.clipped(readings.take(readings.rows([getattr(c, end).key for c in comparisons])))
        for end in ("chosen", "rejected")
    )
    names = np.array([c.rater for c in comparisons])
    gaps = (first - second) * np.array([[reward.temperatures.get(r, 1.0)] for r in names])
    slope = bradley_terry(gaps @ reward.weights, reward.label_noise).slope
    left, size, _ = np.linalg.svd(slope[:, None] * gaps, full_matrices=False)
    scores = left[:, :DIRECTIONS] * size[:DIRECTIONS]
    p, cut = shift_p_value(scores, times, names, rng=rng, num_permutations=num_permutations)
    single: dict[str, float | None] = {}
    for name in sorted(set(names.tolist())):
        mine = names == name
        if mine.sum() >= MIN_COMPARISONS:
            single[name] = shift_p_value(
                scores[mine], times[mine], names[mine], rng=rng, num_permutations=num_permutations
            )[0]
        else:
            single[name] = None
    return Drift(p=p, since=cut, by_rater=_holm(single))


def shift_p_value(
    scores: np.ndarray,
    times: np.ndarray,
    raters: np.ndarray,
    *,
    rng: np.random.Generator,
    num_permutations: int = 999,
) -> tuple[float | None, int | None]:
    """P-value of "the mean of scores [N, Q] is constant in time", and where it changes most."""
    blocks = _blocks(times)
    order = np.argsort(blocks, kind="stable")
    ends = np.flatnonzero(np.diff(blocks[order])) + 1
    if not len(ends):
        return None, None
    centred, num = scores - scores.mean(0), len(scores)
    weight = num / (ends * (num - ends))

    def statistic(rows: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat(rows, np.concatenate([[0], ends]), axis=0).cumsum(0)[:-1]
        return np.asarray((sums**2).sum(1) * weight)

    observed = statistic(centred[order])
    codes = np.unique(raters, return_inverse=True)[1]
    places = np.argsort(codes, kind="stable")
    reached, shuffled = 0, np.empty_like(places)
    for _ in range(num_permutations):
        shuffled[places] = np.lexsort((rng.random(num), codes))
        reached += bool(statistic(centred[shuffled[order]]).max() >= observed.max() * (1 - 1e-12))
    at = order[ends[observed.argmax()]]
    return (reached + 1) / (num_permutations + 1), int(times[at])


def forget(
    head: Head,
    readings: Readings,
    comparisons: Sequence[Comparison],
    *,
    rng: np.random.Generator,
    shares: Sequence[float] = (1.0, 0.5, 0.25),
    tested: float = 0.2,
) -> Forgetting:
    """Fit on shares of the past, score each on the latest `tested` share, and refit on the best."""
    order = np.argsort(_times(comparisons), kind="stable")
    given = Comparisons(tuple(comparisons[i] for i in order))
    cut = round(len(given) * (1 - tested))
    late = set(given.groups[cut:])
    past = [i for i in range(cut) if given.groups[i] not in late]
    if len(past) < 2 or cut == len(given):
        raise DataError("there must be a past and a present", got=f"{len(given)} comparisons")
    first, second = (readings.rows(k[cut:]) for k in (given.chosen_keys, given.rejected_keys))
    clusters, half = given.groups[cut:], len(past) // 2

    def tried(rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        fitted = head.fit(readings, given.take(rows), rng=rng)
        mean, std = fitted.margin(readings, first, second)
        return (np.sign(mean) + 1.0) / 2.0, -np.log(fitted.win_probability(mean, std))

    correct, loss = {}, {}
    for share in shares:
        correct[share], loss[share] = tried(past[len(past) - max(1, round(share * len(past))) :])
    early, recent = (tried(rows)[0] for rows in (past[:half], past[half:]))
    best = min(shares, key=lambda share: float(loss[share].mean()))
    latest = given.take(range(len(given) - max(1, round(best * len(given))), len(given)))
    return Forgetting(
        share=best,
        loss={s: stats.mean(loss[s], clusters=clusters, rng=rng) for s in shares},
        accuracy={s: stats.accuracy(correct[s], clusters=clusters, rng=rng) for s in shares},
        late_over_early=stats.difference(recent, early, clusters=clusters, rng=rng),
        reward=head.fit(readings, latest, rng=rng),
    )


def _times(comparisons: Sequence[Comparison]) -> np.ndarray:
    rounds = np.array([c.round for c in comparisons])
    return rounds if len(np.unique(rounds)) > 1 else np.arange(len(rounds))


def _blocks(times: np.ndarray) -> np.ndarray:
    """At most `BLOCKS` spans of time of about equal size; equal times share one."""
    share = np.searchsorted(np.sort(times), times) / max(len(times), 1)
    return np.asarray((share * BLOCKS).astype(int))


def _holm(single: dict[str, float | None]) -> dict[str, float | None]:
    """P-values that hold for all at once (Holm 1979)."""
    known = sorted((p, name) for name, p in single.items() if p is not None)
    adjusted, running = dict(single), 0.0
    for rank, (p, name) in enumerate(known):
        running = min(1.0, max(running, (len(known) - rank) * p))
        adjusted[name] = running
    return adjusted
