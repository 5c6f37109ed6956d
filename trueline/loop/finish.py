"""What a whole run came to: the last certified policy against base and oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.measure import Yardstick, answer, gain_share
from trueline.loop.state import State
from trueline.loop.task import Task
from trueline.rng import stream

__all__ = ["conclude"]


def conclude(
    state: State,
    yardstick: Yardstick,
    *,
    curve: tuple[int, int],
    oracle_samples: int,
) -> dict[str, Any]:
    """The result object; `gold_*` are None where the task knows no gold."""
    assert state.reward is not None
    task, seed = yardstick.task, yardstick.seed
    num_prompts, num_samples = curve
    return {
        "schema": 1,
        **task.about,
        "seed": seed,
        "processes": task.trunk.workers.num,
        "rounds": state.rounds,
        "certified_round": state.certified_round,
        "labels_used": sum(_totals(state, task, "labels").values()),
        "labels": _totals(state, task, "labels"),
        "judge_s": _totals(state, task, "judge_s"),
        **_gold(state, yardstick, oracle_samples),
        "gold_breakdown_base": yardstick.gold(yardstick.base)["gold_breakdown"],
        "best_of_n": yardstick.best_of_n(
            state.reward, num_prompts=num_prompts, num_samples=num_samples
        ),
        "samples": yardstick.side_by_side(state.certified, state.reward),
    }


def _totals(state: State, task: Task, what: str) -> dict[str, float]:
    """Over all rounds, by purpose; and what raising helpers took before them."""
    rows = [row.get(what, {}) for row in state.rounds]
    rows += [{"helpers": task.helper_cost[what]}] if task.helper_cost else []
    purposes = dict.fromkeys(purpose for row in rows for purpose in row)
    return {purpose: sum(row.get(purpose, 0) for row in rows) for purpose in purposes}


def _gold(state: State, yardstick: Yardstick, oracle_samples: int) -> dict[str, Any]:
    task, seed = yardstick.task, yardstick.seed
    names = ("gold_base", "gold_final", "gold_oracle", "gain_share")
    if task.gold is None:
        return dict.fromkeys(names)
    gold_of = task.gold
    before = np.array([gold_of(r) for r in yardstick.base])
    final = answer(state.certified, yardstick.prompts, seed).flat
    after = np.array([gold_of(r) for r in final])
    oracle = yardstick.oracle(num_samples=oracle_samples)
    assert oracle is not None
    rng = stream(seed, "measure", "gold")
    means = [stats.mean(values, rng=rng).as_dict() for values in (before, after, oracle)]
    return dict(zip(names, [*means, gain_share(before, after, oracle, seed=seed)], strict=True))
