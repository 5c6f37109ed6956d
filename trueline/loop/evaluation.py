"""Evaluate each round, and the whole run, on prompts that serve for nothing else.

Numbers of a reward are given relative to the base policy's answers to the same prompts, because
the reward is fitted anew each round and its zero moves with it. KL is the mean over sampled
answers of log pi(y|x) - log pi_ref(y|x), in nats per response; unbiased, so it may come out below
zero near the start. Gold is reported where a world knows it and used for nothing. The result sets
the certified policy against the base and an oracle: the truly best of n base samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.resume import State
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.reading import Readings
from trueline.models.sampling import Rollouts
from trueline.records import Comparison, Estimate, Prompt, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Evaluation", "agreement_with_gold", "calibration", "conclude"]

_SHOWN = 12
"""Prompts whose answers before and after stand in the result."""


@dataclass(frozen=True)
class Evaluation:
    """The prompts set apart for evaluation and the base policy's answers to them."""

    task: Task
    seed: int
    prompts: list[Prompt]
    base: list[Response]
    base_readings: Readings

    @classmethod
    def start(cls, task: Task, num_prompts: int, seed: int) -> Evaluation:
        """Draw the prompts and let the trunk itself answer them."""
        prompts = task.draw(num_prompts, "measure", stream(seed, "measure", "prompts"))
        policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
        base = _answer(policy, prompts, seed).flat
        return cls(task, seed, prompts, base, _read(task, base))

    def of(self, policy: LoraPolicy, reward: Fitted) -> dict[str, Any]:
        """Return gold, proxy, KL, uncertainty, novelty and length of a policy under a reward."""
        rolled = _answer(policy, self.prompts, self.seed)
        answers, ends = rolled.flat, self.task.trunk.codec.appends_end
        readings = _read(self.task, answers)
        now, before = reward.score(readings), reward.score(self.base_readings)
        both = now.scored & before.scored
        # Scored again and not as sampled: a reading ends an answer that was cut, sampling did not.
        logp = policy.logp(answers, grad=False).double().cpu().numpy()
        return {
            **self.gold(answers),
            "proxy": _mean((now.mean - before.mean)[both]),
            "proxy_lower": _mean((now.lower - before.lower)[both]),
            "kl": _mean(logp - readings.logp),
            "uncertainty": _mean(now.std[now.scored]),
            "novelty": _mean(now.novelty[now.scored]),
            "length": _mean([float(r.num_tokens or 0) for r in answers]),
            "unscored": int((~now.scored).sum()),
            # Where answers have no end, all go on until they are cut.
            "cut": int((~rolled.ended).sum()) if ends else None,
        }

    def gold(self, answers: Sequence[Response]) -> dict[str, Any]:
        """Return mean gold and what the answers are made of; None where nobody knows."""
        task, parts = self.task, None
        gold = None if task.gold is None else _mean([task.gold(r) for r in answers])
        if task.breakdown is not None:
            rows = [task.breakdown(r) for r in answers]
            parts = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {"gold": gold, "gold_breakdown": parts}


def calibration(
    reward: Fitted | None, readings: Readings, comparisons: Sequence[Comparison], *, seed: int
) -> dict[str, Any]:
    """Return what the reward predicted of comparisons it has not learned from, and what came.

    The prediction is the moderated probability (MacKay 1992; the share of random labels counted in)
    that the first answer wins, "first" being settled by content hash and not by who won. Pairs that
    the reward cannot score are left out.
    """
    missing = {"accuracy": None, "calibration": None}
    if reward is None or not comparisons:
        return missing
    keys = np.array([sorted((c.chosen.key, c.rejected.key)) for c in comparisons])
    first, second = (readings.rows(list(keys[:, side])) for side in (0, 1))
    margin, std = reward.margin(readings, first, second)
    known = np.isfinite(margin) & np.isfinite(std)
    if not known.any():
        return missing
    won = np.array([c.chosen.key for c in comparisons]) == keys[:, 0]
    won, margin, std = won[known].astype(float), margin[known], std[known]
    predicted = reward.win_probability(margin, std)
    right = np.where(margin == 0, 0.5, (margin > 0) == (won == 1)).astype(float)
    bins = [row.as_dict() for row in stats.reliability(predicted, won, 5)]
    rng = stream(seed, "measure", "calibration")
    ece = stats.calibration_error(predicted, won, rng=rng).as_dict()
    accuracy = stats.accuracy(right).as_dict()
    return {"accuracy": accuracy, "calibration": {"bins": bins, "ece": ece}}


def agreement_with_gold(task: Task, comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """Return the share of labels that prefer the better answer, pairs of equal gold left out."""
    if task.gold is None:
        return None
    gaps = np.array([task.gold(c.chosen) - task.gold(c.rejected) for c in comparisons])
    return stats.accuracy((gaps[gaps != 0] > 0).astype(float)).as_dict()


def conclude(
    state: State, evaluation: Evaluation, *, curve: tuple[int, int], oracle_samples: int
) -> dict[str, Any]:
    """Return the result object; `gold_*` are None where the task knows no gold."""
    assert state.reward is not None
    task = evaluation.task
    labels, judge_s = (_totals(state, task.helper_cost, what) for what in ("labels", "judge_s"))
    final = _answer(state.certified, evaluation.prompts, evaluation.seed).flat
    return {
        "schema": 1,
        **task.about,
        "seed": evaluation.seed,
        "processes": task.trunk.workers.num,
        "rounds": state.rounds,
        "certified_round": state.certified_round,
        "labels_used": sum(labels.values()),
        "labels": labels,
        "judge_s": judge_s,
        **_gold(evaluation, final, oracle_samples),
        "gold_breakdown_base": evaluation.gold(evaluation.base)["gold_breakdown"],
        "best_of_n": _best_of_n(state.reward, evaluation, *curve),
        "samples": _side_by_side(state.reward, evaluation, final),
    }


def _totals(state: State, helper_cost: Mapping[str, float], what: str) -> dict[str, float]:
    """Return what all rounds took, by purpose; and what raising helpers took before them."""
    rows = [row.get(what, {}) for row in state.rounds]
    rows += [{"helpers": helper_cost[what]}] if helper_cost else []
    purposes = dict.fromkeys(purpose for row in rows for purpose in row)
    return {purpose: sum(row.get(purpose, 0) for row in rows) for purpose in purposes}


def _gold(evaluation: Evaluation, final: Sequence[Response], oracle_samples: int) -> dict[str, Any]:
    """Return gold before, after, and of the truly best of n base samples, per prompt averaged."""
    gold, seed = evaluation.task.gold, evaluation.seed
    names = ("gold_base", "gold_final", "gold_oracle", "gain_share")
    if gold is None:
        return dict.fromkeys(names)
    rng = stream(seed, "measure", "oracle")
    rows = _base_samples(evaluation, len(evaluation.prompts), oracle_samples, rng)
    before, after = (np.array([gold(r) for r in answers]) for answers in (evaluation.base, final))
    oracle = np.array([max(gold(r) for r in row) for row in rows])
    means = [_mean(values) for values in (before, after, oracle)]
    share = _gain_share(before, after, oracle, stream(seed, "measure", "gain"))
    return dict(zip(names, [*means, share], strict=True))


def _gain_share(
    base: np.ndarray, final: np.ndarray, oracle: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Return (final - base) / (oracle - base) over prompts [B]; not measured where the oracle's
    gain is not clearly above zero, because a ratio to nothing means nothing."""
    whole = stats.mean(oracle - base)
    if whole.lower is None or whole.lower <= 0:
        return Estimate(None, None, None, len(base)).as_dict()

    def share(b: np.ndarray, f: np.ndarray, o: np.ndarray) -> float:
        return float((f.mean() - b.mean()) / (o.mean() - b.mean()))

    return stats.bootstrap(share, base, final, oracle, rng=rng).as_dict()


def _best_of_n(
    reward: Fitted, evaluation: Evaluation, num_prompts: int, num_samples: int
) -> dict[str, Any] | None:
    """Return gold of best-of-n by the reward's mean, by its lower bound, and by gold itself."""
    task = evaluation.task
    if task.gold is None:
        return None
    rng = stream(evaluation.seed, "measure", "best-of-n")
    rows = _base_samples(evaluation, num_prompts, num_samples, rng)
    scores = reward.score(_read(task, [r for row in rows for r in row]))
    gold = np.array([[task.gold(r) for r in row] for row in rows])
    ns = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
    judged = {
        "plain": scores.to_pick("mean").reshape(gold.shape),
        "conservative": scores.to_pick("lower").reshape(gold.shape),
        "oracle": gold,
    }
    return {"n": ns} | {
        name: [_mean(stats.best_of_n(proxy, gold, n)) for n in ns] for name, proxy in judged.items()
    }


def _side_by_side(
    reward: Fitted, evaluation: Evaluation, final: Sequence[Response]
) -> list[dict[str, Any]]:
    """Return the same prompts answered before and after, with what reward and gold say of each."""
    task, columns = evaluation.task, []
    for answers in (evaluation.base[:_SHOWN], final[:_SHOWN]):
        scores = reward.score(_read(task, answers))
        columns.append(
            [
                {"text": r.text, "gold": task.gold and task.gold(r), "mean": s.mean, "std": s.std}
                for r, s in zip(answers, scores, strict=True)
            ]
        )
    return [
        {"prompt": p.text, "before": b, "after": a}
        for p, b, a in zip(evaluation.prompts, *columns, strict=False)
    ]


def _mean(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    return stats.mean(np.asarray(values, dtype=np.float64)).as_dict()


def _read(task: Task, answers: Sequence[Response]) -> Readings:
    """Return readings with one row an answer, in order, repeated answers repeated."""
    readings = task.trunk.read(answers)
    return readings.take(readings.rows([r.key for r in answers]))


def _answer(policy: BasePolicy, prompts: Sequence[Prompt], seed: int) -> Rollouts:
    """Return one answer a prompt; the same stream for every policy, so that they are paired."""
    return policy.rollouts(prompts, num_samples=1, rng=stream(seed, "measure", "answers"))


def _base_samples(
    evaluation: Evaluation, num_prompts: int, num_samples: int, rng: np.random.Generator
) -> list[list[Response]]:
    task = evaluation.task
    policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
    return policy.sample(evaluation.prompts[:num_prompts], num_samples=num_samples, rng=rng)
