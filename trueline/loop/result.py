"""What a whole run came to: the last certified policy against base and oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.evaluation import Evaluation, answer, mean, read
from trueline.loop.resume import State
from trueline.models.adapters import BasePolicy
from trueline.records import Estimate, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["conclude", "gain_share"]

_SHOWN = 12
"""Prompts whose answers before and after stand in the result."""


def conclude(
    state: State, evaluation: Evaluation, *, curve: tuple[int, int], oracle_samples: int
) -> dict[str, Any]:
    """Return the result object; `gold_*` are None where the task knows no gold."""
    assert state.reward is not None
    task = evaluation.task
    labels, judge_s = (_totals(state, task.helper_cost, what) for what in ("labels", "judge_s"))
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
        **_gold(state, evaluation, oracle_samples),
        "gold_breakdown_base": evaluation.gold(evaluation.base)["gold_breakdown"],
        "best_of_n": _best_of_n(state.reward, evaluation, *curve),
        "samples": _side_by_side(state, evaluation),
    }


def _totals(state: State, helper_cost: Any, what: str) -> dict[str, float]:
    """Return what all rounds took, by purpose; and what raising helpers took before them."""
    rows = [row.get(what, {}) for row in state.rounds]
    rows += [{"helpers": helper_cost[what]}] if helper_cost else []
    purposes = dict.fromkeys(purpose for row in rows for purpose in row)
    return {purpose: sum(row.get(purpose, 0) for row in rows) for purpose in purposes}


def _gold(state: State, evaluation: Evaluation, oracle_samples: int) -> dict[str, Any]:
    """Return gold before, after, and of the truly best of n base samples, per prompt averaged."""
    gold, seed = evaluation.task.gold, evaluation.seed
    names = ("gold_base", "gold_final", "gold_oracle", "gain_share")
    if gold is None:
        return dict.fromkeys(names)
    before = np.array([gold(r) for r in evaluation.base])
    final = answer(state.certified, evaluation.prompts, seed).flat
    after = np.array([gold(r) for r in final])
    rng = stream(seed, "measure", "oracle")
    rows = _base_samples(evaluation, len(evaluation.prompts), oracle_samples, rng)
    oracle = np.array([max(gold(r) for r in row) for row in rows])
    rng = stream(seed, "measure", "gold")
    means = [mean(values, rng) for values in (before, after, oracle)]
    return dict(zip(names, [*means, gain_share(before, after, oracle, seed=seed)], strict=True))


def gain_share(
    base: np.ndarray, final: np.ndarray, oracle: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Return (final - base) / (oracle - base) over prompts [B]; not measured where the oracle's
    gain is not clearly above zero, because a ratio to nothing means nothing."""
    rng = stream(seed, "measure", "gain")
    whole = stats.mean(oracle - base, rng=rng)
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
    scores = reward.score(read(task, [r for row in rows for r in row]))
    gold = np.array([[task.gold(r) for r in row] for row in rows])
    ns = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
    judged = {
        "plain": scores.to_pick("mean").reshape(gold.shape),
        "conservative": scores.to_pick("lower").reshape(gold.shape),
        "oracle": gold,
    }
    return {"n": ns} | {
        name: [mean(stats.best_of_n(proxy, gold, n), rng) for n in ns]
        for name, proxy in judged.items()
    }


def _base_samples(
    evaluation: Evaluation, num_prompts: int, num_samples: int, rng: np.random.Generator
) -> list[list[Response]]:
    task = evaluation.task
    policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
    return policy.sample(evaluation.prompts[:num_prompts], num_samples=num_samples, rng=rng)


def _side_by_side(state: State, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the same prompts answered before and after, with what reward and gold say of each."""
    assert state.reward is not None
    task, columns = evaluation.task, []
    final = answer(state.certified, evaluation.prompts, evaluation.seed).flat
    for answers in (evaluation.base, final):
        scores = state.reward.score(read(task, answers[:_SHOWN]))
        columns.append(
            [
                {"text": r.text, "gold": task.gold and task.gold(r), "mean": s.mean, "std": s.std}
                for r, s in zip(answers, scores, strict=False)
            ]
        )
    return [
        {"prompt": p.text, "before": b, "after": a}
        for p, b, a in zip(evaluation.prompts, *columns, strict=False)
    ]
