"""A task of the embedded world, and a run on it that is over in a second or two."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trueline.loop.evaluation import Measuring
from trueline.loop.online import Online
from trueline.loop.task import Task
from trueline.models.trunk import Trunk
from trueline.oversight.direct import Direct
from trueline.policy import AdamWSettings, BestOfN, Limits
from trueline.recipes import Recipe
from trueline.recipes.runs import make_task
from trueline.recipes.session import Session
from trueline.runs import RunFolder
from trueline.worlds.sums import trunk_path

FREE = Limits(kl_budget=math.inf, novelty_limit=math.inf)
QUICK = Online(
    rounds=2,
    labels=48,
    gate_frac=0.5,
    alpha=0.99,  # a few wins certify: round 1 does, round 2 does not
    prompts_per_round=6,
    samples_per_prompt=2,
    evaluate=Measuring(prompts=4, curve_prompts=2, curve_samples=1, oracle_samples=1),
    rank=2,
    optimiser=BestOfN(
        num_samples=4, limits=FREE, adamw=AdamWSettings(learning_rate=5e-3, epochs=6)
    ),
    protocol=Direct(),
    seed=2,
)
Start = Callable[..., dict[str, Any]]


def make_sums_task(trunk: Trunk, population: str = "default", seed: int = 0) -> Task:
    """The embedded world's task, judged without help."""
    judge = {"kind": "simulated", "population": population}
    recipe = Recipe.of({"model": {"max_new_tokens": 60}, "judge": judge})
    return make_task(recipe, Session(seed=seed, trunks={None: trunk}))


@pytest.fixture(scope="session")
def sums_task() -> Task:
    return make_sums_task(Trunk.load(str(trunk_path())))


def run(spec: Online, task: Task, place: Path) -> dict[str, Any]:
    """A run, begun or gone on with; its result as it is read back."""
    with RunFolder.resume(place, {"rounds": spec.rounds}, data_hashes=task.data_hashes) as folder:
        return json.loads(json.dumps(spec.run(task, folder)))  # type: ignore[no-any-return]


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """The result without times and paths."""
    kept = {k: v for k, v in result.items() if k not in ("wall_s", "run", "rounds")}
    rows = [{**r, "reward": {**r["reward"], "fit_s": 0}} for r in result["rounds"]]
    return {**kept, "rounds": rows}
