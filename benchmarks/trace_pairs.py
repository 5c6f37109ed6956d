"""One right and one wrong solution of a problem, through the protocols. Used by `oversight_traces`.

The judge is a reward fitted on pairs of other problems, drawing its verdicts (`raters`);
with critiques it also holds a named wrong equation against an answer, by as much as the same
training pairs say (a logistic weight beside the reward's margin, one number a fold).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from trueline import stats
from trueline.data.baselines import bag_of_words
from trueline.data.comparisons import Comparisons
from trueline.data.traces import Trace
from trueline.models.reading import Readings
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.raters.reward_rater import RewardRater
from trueline.records import Case, Comparison, Preference, Prompt, Response, Scores, Verdict
from trueline.records import Critique as Said
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream

__all__ = ["judged_pairs"]

HEAD = Bayesian(layer=4, pooling="mean")
Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass
class Known:
    """A scorer of responses that were scored beforehand."""

    readings: Readings
    scores: Scores

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        asked = [p if isinstance(p, Prompt) else Prompt.of(p) for p in prompts]
        keys = [Response(prompt=p, text=t).key for p, t in zip(asked, responses, strict=True)]
        rows = self.readings.rows(keys)
        return Scores(**{name: getattr(self.scores, name)[rows] for name in COLUMNS})


COLUMNS = ("mean", "std", "lower", "novelty", "scored")


@dataclass
class Weighing:
    """A stand-in that counts named flaws: `weight` log-odds a flaw."""

    scorer: Known
    weight: float

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Said, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        if not critiques:
            return RewardRater(scorer=self.scorer).compare(first, second, rng=rng)
        named = {c.response.key: len(c.flaws or ()) for c in critiques}
        one, two = self.scorer.score([first.prompt] * 2, [first.text, second.text]).mean
        gap = one - two + self.weight * (named[second.key] - named[first.key])
        belief = float(1 / (1 + np.exp(-gap)))
        preference = Preference.FIRST if rng.random() < belief else Preference.SECOND
        return Verdict(preference=preference, rater="weighing", belief=belief)


@dataclass
class Written:
    """The critic's word, looked up."""

    critiques: dict[str, Said]

    def critique(self, responses: Sequence[Response], *, rng: np.random.Generator) -> list[Said]:
        return [self.critiques[response.key] for response in responses]


@dataclass
class Outcomes:
    """Whether the right solution was preferred, row by row."""

    direct: list[float] = field(default_factory=list)
    critique: list[float] = field(default_factory=list)
    sign: list[float] = field(default_factory=list)
    longer: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def judged_pairs(
    traces: Sequence[Trace],
    readings: Readings,
    critiques: Sequence[Said],
    shuffles: Sequence[Folds],
    seeds: Sequence[int],
) -> tuple[np.ndarray, dict[str, Any]]:
    """Held-out rewards of all solutions, a row of N a shuffle, and the protocols' accuracy."""
    helper = Written({c.response.key: c for c in critiques})
    rows = readings.rows([trace.response.key for trace in traces])
    heads, found = [], Outcomes()
    for seed, folds in zip(seeds, shuffles, strict=True):
        held = np.zeros(len(traces))
        for train, test in folds:
            pairs = _pairs([traces[i] for i in train])
            rng = stream(seed, "traces", "pairs")
            reward = HEAD.fit(readings, Comparisons(tuple(pairs)), rng=rng)
            scores = reward.score(readings)
            held[test] = scores.mean[rows[test]]
            judge = Weighing(Known(readings, scores), _weight(pairs, readings, scores, helper))
            found.weights.append(judge.weight)
            asked = _one_a_problem(_pairs([traces[i] for i in test]), rng)
            found.words += bag_of_words(
                Comparisons(tuple(pairs)), Comparisons(tuple(asked)), rng=rng
            ).tolist()
            _judge(asked, judge, helper, rng, found)
        heads.append(held)
    return np.concatenate(heads), _summary(found)


def _judge(
    pairs: Sequence[Comparison],
    judge: Weighing,
    helper: Written,
    rng: np.random.Generator,
    found: Outcomes,
) -> None:
    for pair, own in zip(pairs, rng.spawn(len(pairs)), strict=True):
        case = Case(first=pair.chosen, second=pair.rejected)
        one, two = own.spawn(2)
        plain = Direct().judge(case, judge=judge, rng=one)
        helped = WithCritique().judge(case, helper=helper, judge=judge, rng=two)
        found.direct.append(float(plain.preference is Preference.FIRST))
        found.critique.append(float(helped.preference is Preference.FIRST))
        gap = np.subtract(
            *judge.scorer.score([pair.prompt] * 2, [r.text for r in case.responses]).mean
        )
        found.sign.append(float((np.sign(gap) + 1) / 2))
        lengths = len(pair.chosen.text) - len(pair.rejected.text)
        found.longer.append(float((np.sign(lengths) + 1) / 2))
        found.groups.append(pair.prompt.key)


def _summary(found: Outcomes) -> dict[str, Any]:
    rng = stream(0, "traces", "pairs", "intervals")
    groups = found.groups

    def share(values: Sequence[float]) -> Any:
        return stats.accuracy(values, clusters=groups, rng=rng).as_dict()

    ahead = stats.difference(found.critique, found.direct, clusters=groups, rng=rng)
    return {
        "direct": share(found.direct),
        "critique": share(found.critique),
        "critique less direct": ahead.as_dict(),
        "larger reward": share(found.sign),
        "floor: longer": share(found.longer),
        "floor: bag of words": share(found.words),
        "log_odds_of_a_flaw": [min(found.weights), max(found.weights)],
        "problems": len(set(groups)),
    }


def _pairs(traces: Sequence[Trace]) -> list[Comparison]:
    """Each right solution over each wrong one of its problem."""
    by_problem: dict[str, list[Trace]] = {}
    for trace in traces:
        by_problem.setdefault(trace.group, []).append(trace)
    return [
        Comparison(chosen=good.response, rejected=bad.response)
        for group in by_problem.values()
        for good in group
        if good.right
        for bad in group
        if not bad.right and bad.response.key != good.response.key
    ]


def _one_a_problem(pairs: Sequence[Comparison], rng: np.random.Generator) -> list[Comparison]:
    chosen = {pairs[i].prompt.key: pairs[i] for i in rng.permutation(len(pairs))}
    return [chosen[key] for key in sorted(chosen)]


def _weight(
    pairs: Sequence[Comparison], readings: Readings, scores: Scores, helper: Written
) -> float:
    """Log-odds of one named flaw beside the margin, by the training pairs; N(0, 4) prior."""
    ends = [readings.rows([getattr(p, end).key for p in pairs]) for end in ("chosen", "rejected")]
    margin = scores.mean[ends[0]] - scores.mean[ends[1]]
    named = [
        len(helper.critiques[p.rejected.key].flaws or ())
        - len(helper.critiques[p.chosen.key].flaws or ())
        for p in pairs
    ]
    x = np.array(named, dtype=float)

    def loss(weight: float) -> float:
        return float(np.logaddexp(0, -(margin + weight * x)).sum() + weight**2 / 8)

    return float(minimize_scalar(loss).x)
