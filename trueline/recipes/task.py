"""Make of a recipe what the loop works on: its task and its own configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trueline.data.cases import LabelledCase
from trueline.data.comparisons import Comparisons
from trueline.data.prompts import load_prompts
from trueline.errors import InputError
from trueline.loop.online import Online
from trueline.loop.resume import continue_from
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy
from trueline.models.endpoint import Endpoint
from trueline.models.engine import Engine
from trueline.recipes.helpers import open_helper
from trueline.recipes.judges import JUDGES, sha256_of
from trueline.recipes.schema import Recipe
from trueline.recipes.session import Session
from trueline.records import Case, Prompt
from trueline.registry import name_of
from trueline.rng import stream
from trueline.worlds.sums import Sums

__all__ = ["make_loop", "make_task", "sums_cases"]


def make_loop(recipe: Recipe, *, seed: int) -> Online:
    """Return the loop that the recipe configures."""
    budget, evaluate = recipe.budget, recipe.evaluate
    return Online(
        rounds=budget.rounds,
        labels=budget.labels,
        gate_frac=budget.gate_frac,
        alpha=budget.alpha,
        prompts_per_round=budget.prompts_per_round,
        samples_per_prompt=budget.samples_per_prompt,
        measured_prompts=evaluate.prompts,
        curve=(evaluate.curve_prompts, evaluate.curve_samples),
        oracle_samples=evaluate.oracle_samples,
        rank=recipe.model.rank,
        reward=recipe.reward,
        optimiser=recipe.policy,
        protocol=recipe.oversight,
        seed=seed,
    )


def make_task(recipe: Recipe, session: Session, *, start: Path | None = None) -> Task:
    """Return the task, with its judge and helper at work.

    Args:
        recipe: what to do.
        session: whose trunk, seed and console are used.
        start: run folder to go on from: its certified policy and all it learned from.

    Raises:
        InputError: the parts do not fit together.
    """
    data, model = recipe.data, recipe.model
    if model.path is not None and data.prompts is None:
        raise InputError(
            "data.prompts must name a file for a model of your own",
            got="none",
            do="give --prompts FILE",
        )
    prompts: Any = _sums_prompts
    hashes = {}
    if data.prompts is not None:
        prompts = load_prompts(data.prompts, max_words=data.prompt_words)
        hashes["prompts"] = sha256_of(data.prompts)
    judging = recipe.judge.open(session)
    protocol, help = open_helper(recipe.oversight, recipe.helper, session, judging.rater)
    known = list(judging.comparisons)
    if data.comparisons is not None:
        known += Comparisons.load(data.comparisons)
        hashes["comparisons"] = sha256_of(data.comparisons)
    task = Task(
        trunk=session.trunk,
        prompts=prompts,
        rater=judging.rater,
        helper=help.helper,
        helper_cost=help.cost,
        gold=judging.gold,
        breakdown=judging.breakdown,
        comparisons=Comparisons(tuple(known)),
        sampler=_engine(model.engine),
        max_new_tokens=model.max_new_tokens,
        about={
            "model": model.path or "the embedded model",
            "world": "sums" if data.prompts is None else "your prompts",
            "rater": name_of(recipe.judge, JUDGES) or type(recipe.judge).__name__,
            "assist": protocol,
            "certificate": judging.certificate,
        },
        data_hashes={**hashes, **judging.data_hashes},
    )
    return task if start is None else continue_from(start, task)


def sums_cases(num: int, session: Session) -> list[LabelledCase]:
    """Return cases of the embedded world: two answers of its model, of unequal gold."""
    world, rng = Sums(), stream(session.seed, "cases")
    policy = BasePolicy(session.load(None), max_new_tokens=session.max_new_tokens)
    cases: list[LabelledCase] = []
    while len(cases) < num:
        prompts = world.prompts(2 * num, rng, "eval")
        for first, second in policy.sample(prompts, num_samples=2, rng=rng):
            gap = world.gold(first) - world.gold(second)
            if gap:
                case = Case(first=first, second=second)
                group = first.prompt.key
                cases.append(LabelledCase(case=case, correct=int(gap < 0), group=group))
    return cases[:num]


def _sums_prompts(num: int, rng: np.random.Generator) -> list[Prompt]:
    return Sums().prompts(num, rng)


def _engine(name: str | None) -> Engine | None:
    if name is None:
        return None
    url, _, model = name.rpartition("#")
    if not url or not model:
        raise InputError("model.engine must be named URL#MODEL", got=repr(name))
    return Engine(endpoint=Endpoint(url=url, model=model, timeout_s=600.0, concurrency=32))
