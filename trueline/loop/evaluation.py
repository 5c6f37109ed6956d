"""Evaluate each round, and the whole run, on prompts that serve for nothing else.

Numbers of a reward are given relative to the base policy's answers to the same prompts, because
the reward is fitted anew each round and its zero moves with it. KL is the mean over sampled
answers of log pi(y|x) - log pi_ref(y|x), both at the sampling temperature, in nats per response;
unbiased, so it may come out below zero near the start. Gold is reported where a world knows it and
used for nothing. The result sets the certified policy against the base and an oracle: the truly
best of n base samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.arms import Arms
from trueline.loop.resume import State
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.reading import Readings
from trueline.models.rollouts import Rollouts
from trueline.policy import Samples
from trueline.records import Comparison, Estimate, Prompt, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import Rng, stream

__all__ = ["Evaluation", "Measuring", "agreement_with_gold", "calibration"]

_SHOWN = 12
"""Prompts whose answers before and after stand in the result."""


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is measured after each round and at the end."""

    prompts: int = 200
    """Prompts set apart for measuring."""
    curve_prompts: int = 40
    """Prompts of the best-of-n curve at the end."""
    curve_samples: int = 64
    """Its largest n."""
    oracle_samples: int = 16
    """Answers of which the oracle takes the best, where the truth is known."""
    judge: Path | None = None
    """Reward folder, best of another trunk and other labels, that judges base, asked, trained."""
    asked: str | None = None
    """System prompt of the arm that is merely asked; the principles' words if not given."""
    refusals: Path | None = None
    """Prompts with a type, as XSTest's ("contrast..." or "unsafe" are harmful)."""
    questions: Path | None = None
    """Prompts with an answer, or a list of right ones, for the arms' skill; shipped ones if not
    given."""


@dataclass(frozen=True)
class Evaluation:
    """The prompts set apart for evaluation, and what policies answer to them."""

    task: Task
    how: Measuring
    seed: int

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return self.task.draw(self.how.prompts, "measure", self._rng("prompts"))

    @cached_property
    def _base(self) -> Rollouts:
        return self._answers(self._base_policy)

    @cached_property
    def _base_readings(self) -> Readings:
        return self._read(self._base.flat)

    @property
    def _base_policy(self) -> BasePolicy:
        return BasePolicy(self.task.trunk, sampling=self.task.sampling)

    @property
    def gold_base(self) -> dict[str, Any] | None:
        """Mean gold of the base policy's answers."""
        found: dict[str, Any] | None = self._gold(self._base)["gold"]
        return found

    @property
    def fewer(self) -> str | None:
        """Say that fewer prompts are measured than were asked for; None if it is so many."""
        few = f"{len(self._prompts)} prompts are measured, {self.how.prompts} were asked for"
        return few if len(self._prompts) < self.how.prompts else None

    def of(self, policy: LoraPolicy, reward: Fitted) -> dict[str, Any]:
        """Return gold, proxy, KL, uncertainty, novelty and length of a policy under a reward."""
        rolled, how = self._answers(policy), self.task.sampling
        answers, ends = rolled.flat, self.task.trunk.codec.appends_end
        readings = self._read(answers)
        now, before = reward.score(readings), reward.score(self._base_readings)
        gained = how.charged(now.mean, rolled.cut) - how.charged(before.mean, self._base.cut)
        return {
            **self._gold(rolled),
            "proxy": _mean(gained[now.scored & before.scored & np.isfinite(gained)]),
            "kl": _mean(Samples.of(policy, rolled, now, readings).log_ratio.ravel(), _POSITIVE),
            # A rule has neither.
            "uncertainty": _mean(now.std[now.scored], _POSITIVE) if now.std.any() else None,
            "novelty": _mean(now.novelty[now.scored], _POSITIVE) if now.novelty.any() else None,
            "length": _mean([r.num_tokens for r in answers if r.num_tokens is not None], _POSITIVE),
            "unscored": int((~now.scored).sum()),
            # Where answers have no end, all go on until they are cut.
            "cut": int((~rolled.ended).sum()) if ends else None,
        }

    def conclude(self, state: State) -> dict[str, Any]:
        """Return the result object; `gold_*` are None where the task knows no gold."""
        assert state.reward is not None
        rows = [*state.rounds, {name: {"helpers": n} for name, n in self.task.helper_cost.items()}]
        labels, judge_s = (_totals([r.get(n, {}) for r in rows]) for n in ("labels", "judge_s"))
        final = self._answers(state.certified)
        return {
            "schema": 1,
            **self.task.about,
            "seed": self.seed,
            "processes": self.task.trunk.workers.num,
            "measured_prompts": len(self._prompts),
            "rounds": state.rounds,
            "certified_round": state.certified_round,
            "labels_used": sum(labels.values()),
            "labels": labels,
            "judge_s": judge_s,
            **self._gain(final),
            "gold_breakdown_base": self._gold(self._base)["gold_breakdown"],
            "best_of_n": self._best_of_n(state.reward),
            "samples": self._side_by_side(state.reward, final),
            "supervised": self._supervised(state, state.reward),
            "arms": Arms(self.task, self._prompts, self.seed).measure(
                state.certified, state.reward, state.start
            ),
        }

    def _supervised(self, state: State, reward: Fitted) -> dict[str, Any] | None:
        """Return what demonstrations did: how the loss fell, and what the policy was like then."""
        if state.start is None:
            return None
        measured = self.of(state.start, reward)
        return {**state.taught, **{name: measured[name] for name in ("gold", "proxy", "kl")}}

    def _values(self, rolled: Rollouts) -> np.ndarray:
        """Return the gold of each answer, [N]; NaN where there is none or the answer is left out
        for being cut."""
        gold = self.task.gold
        values = np.array([np.nan if gold is None else gold(r) for r in rolled.flat])
        left_out = rolled.cut & (self.task.sampling.cut == "leave_out")
        return np.where(left_out, np.nan, values)

    def _gold(self, rolled: Rollouts) -> dict[str, Any]:
        """Return mean gold and what the answers are made of; None where nobody knows."""
        task, parts, values = self.task, None, self._values(rolled)
        known = values[np.isfinite(values)]
        gold = None if task.gold is None else _mean(known, _bounds(known))
        if task.breakdown is not None:
            rows = [task.breakdown(r) for r in rolled.flat]
            parts = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {"gold": gold, "gold_breakdown": parts}

    def _gain(self, final: Rollouts) -> dict[str, Any]:
        """Return gold before, after, and of the truly best of n base samples; and the share of the
        oracle's gain, where that is clearly above zero: a ratio to nothing means nothing."""
        names = ("gold_base", "gold_final", "gold_oracle", "gain_share")
        if self.task.gold is None:
            return dict.fromkeys(names)
        samples = self._base_samples(self.how.prompts, self.how.oracle_samples, "oracle")
        rows = self._values(samples).reshape(len(self._prompts), -1)
        columns = [*map(self._values, (self._base, final)), np.fmax.reduce(rows, axis=1)]
        known = np.isfinite(columns).all(0)
        before, after, oracle = (column[known] for column in columns)
        bounds, share = _bounds(oracle), Estimate(None, None, None, len(before))
        whole = stats.mean(oracle - before, bounds=(-bounds[1], bounds[1]))
        if whole.lower is not None and whole.lower > 0:
            share = stats.bootstrap(_share, before, after, oracle, rng=self._rng("gain"))
        means = [_mean(values, bounds) for values in (before, after, oracle)]
        return dict(zip(names, [*means, share.as_dict()], strict=True))

    def _best_of_n(self, reward: Fitted) -> dict[str, Any] | None:
        """Return gold of best-of-n by the reward's mean, by its lower bound, and by gold itself."""
        if self.task.gold is None:
            return None
        num_samples = self.how.curve_samples
        samples = self._base_samples(self.how.curve_prompts, num_samples, "best-of-n")
        scores = reward.score(self._read(samples.flat))
        values = self._values(samples).reshape(len(samples.responses), -1)
        known = np.isfinite(values).all(1)
        gold = values[known]
        ns = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
        judged = {
            "plain": scores.to_pick("mean").reshape(values.shape)[known],
            "conservative": scores.to_pick("lower").reshape(values.shape)[known],
            "oracle": gold,
        }
        return {"n": ns} | {
            name: [_mean(stats.best_of_n(proxy, gold, n), _bounds(gold)) for n in ns]
            for name, proxy in judged.items()
        }

    def _side_by_side(self, reward: Fitted, final: Rollouts) -> list[dict[str, Any]]:
        """Return the same prompts answered before and after, with what reward and gold say."""
        columns = []
        for rolled in (self._base, final):
            answers = rolled.flat[:_SHOWN]
            gold = [value if np.isfinite(value) else None for value in self._values(rolled)]
            scored = reward.score(self._read(answers))
            columns.append(
                [
                    {"text": r.text, "gold": g, "mean": s.mean, "std": s.std}
                    for r, g, s in zip(answers, gold, scored, strict=False)
                ]
            )
        return [
            {"prompt": p.text, "before": b, "after": a}
            for p, b, a in zip(self._prompts, *columns, strict=False)
        ]

    def _rng(self, name: str) -> Rng:
        return stream(self.seed, "measure", name)

    def _answers(self, policy: BasePolicy) -> Rollouts:
        """Return one answer a prompt; the same stream for every policy, so that they are paired."""
        return policy.rollouts(self._prompts, num_samples=1, rng=self._rng("answers"))

    def _base_samples(self, num_prompts: int, num_samples: int, name: str) -> Rollouts:
        prompts, rng = self._prompts[:num_prompts], self._rng(name)
        return self._base_policy.rollouts(prompts, num_samples=num_samples, rng=rng)

    def _read(self, answers: Sequence[Response]) -> Readings:
        """Return readings with one row an answer, in order, repeated answers repeated."""
        readings = self.task.trunk.read(answers)
        return readings.take(readings.rows([r.key for r in answers]))


def calibration(
    reward: Fitted | None, readings: Readings, comparisons: Sequence[Comparison], *, seed: int
) -> dict[str, Any]:
    """Return how well the reward predicts comparisons it has not learned from.

    The prediction is the moderated probability (MacKay 1992; the share of random labels counted in)
    that the first answer wins, "first" by content hash. What it cannot score is left out.
    """
    keys = [sorted((c.chosen.key, c.rejected.key)) for c in comparisons]
    known = np.zeros(len(keys), bool)
    if reward is not None and keys:
        first, second = (readings.rows(list(side)) for side in zip(*keys, strict=True))
        margin, std = reward.margin(readings, first, second)
        known = np.isfinite(margin) & np.isfinite(std)
    if reward is None or not known.any():
        return {"accuracy": None, "calibration": None}
    firsts = [c.chosen.key == pair[0] for c, pair in zip(comparisons, keys, strict=True)]
    won, margin, std = np.array(firsts, float)[known], margin[known], std[known]
    predicted = reward.win_probability(margin, std)
    right = np.where(margin == 0, 0.5, (margin > 0) == (won == 1)).astype(float)
    rng = stream(seed, "measure", "calibration")
    found = {
        "bins": [row.as_dict() for row in stats.reliability(predicted, won, 5)],
        "ece": stats.calibration_error(predicted, won, rng=rng).as_dict(),
    }
    return {"accuracy": stats.accuracy(right).as_dict(), "calibration": found}


def agreement_with_gold(task: Task, comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """Return the share of labels that prefer the better answer, pairs of equal gold left out."""
    if task.gold is None:
        return None
    gaps = np.array([task.gold(c.chosen) - task.gold(c.rejected) for c in comparisons])
    told = gaps[np.isfinite(gaps) & (gaps != 0)]
    return stats.accuracy((told > 0).astype(float)).as_dict()


def _totals(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    purposes = dict.fromkeys(purpose for row in rows for purpose in row)
    return {purpose: sum(row.get(purpose, 0) for row in rows) for purpose in purposes}


_ANY, _POSITIVE = (-math.inf, math.inf), (0.0, math.inf)


def _mean(
    values: Sequence[float] | np.ndarray, bounds: tuple[float, float] = _ANY
) -> dict[str, Any]:
    return stats.mean(np.asarray(values, dtype=np.float64), bounds=bounds).as_dict()


def _bounds(gold: np.ndarray) -> tuple[float, float]:
    """Return what a mean of gold lies between: 0 and 1 where it says only yes or no."""
    return (0.0, 1.0) if np.isin(gold, (0, 1)).all() else _ANY


def _share(base: np.ndarray, final: np.ndarray, oracle: np.ndarray) -> float:
    return float((final.mean() - base.mean()) / (oracle.mean() - base.mean()))
