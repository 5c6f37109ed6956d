"""The splits of the world: where the loop trains and measures, and how far it can be shifted.

    train, eval      2 to 5 operations; their chains never meet
    longer_6         6, 7, 8, 10 operations, in order of distance from 2 to 5. The trunk has read
    longer_7         documents of 6 and 8 (seldom) but none of 7 or 10: it is a shift for whatever
    longer_8         is fitted on `train`, and for 7 and 10 for the trunk as well
    longer_10
    larger           2 to 5 operations with values up to 79 (the trunk has read chains of 1 and 2)
    unseen_order     a "-" directly followed by a "*", which no other prompt and no document has
    new_style        "begin 7 , add 5", 2 to 5 operations (the trunk has read chains of 1 and 2)
    factor           "is 91 prime": harder to evaluate than to generate

All but `train` draw from chains that the trunk has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trueline.errors import InputError
from trueline.records import Prompt
from trueline.worlds.sums.factors import draw_factor_prompt
from trueline.worlds.sums.problems import LARGE, LIMIT, Problem, draw_problem
from trueline.worlds.sums.writers import MIXTURE, draw_guess

__all__ = ["SPLITS", "Split", "draw_from", "draw_prompts"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """What the chains of a split are like."""

    lengths: tuple[int, ...] = (2, 3, 4, 5)
    held_out: bool = True
    limit: int = LIMIT
    told: bool = False
    unseen_order: bool = False

    def holds(self, task: Problem) -> bool:
        peak = max(task.start, *(step.c for step in task.steps))
        large_enough = self.limit == LIMIT or peak > LIMIT
        order = task.unseen_order == self.unseen_order
        return task.held_out == self.held_out and large_enough and order


SPLITS = {
    "train": Split(held_out=False),
    "eval": Split(),
    **{f"longer_{length}": Split(lengths=(length,)) for length in (6, 7, 8, 10)},
    "larger": Split(limit=LARGE),
    "unseen_order": Split(unseen_order=True),
    "new_style": Split(told=True),
}


def draw_prompts(n: int, rng: np.random.Generator, split: str = "train") -> list[Prompt]:
    """`n` different prompts of a split; about one in five with the user's own guess."""
    if split not in (*SPLITS, "factor"):
        raise InputError(f"split must be one of {', '.join((*SPLITS, 'factor'))}", got=repr(split))
    if split == "factor" and n > 96:
        raise InputError("there are 96 factor claims", got=f"n={n}", do="ask for fewer")
    prompts: dict[str, Prompt] = {}
    while len(prompts) < n:
        if split == "factor":
            prompt = Prompt.of(draw_factor_prompt(rng), split=split)
        else:
            task = draw_from(SPLITS[split], rng)
            prompt = Prompt.of(task.text, split=split, num_steps=len(task.operations))
        prompts.setdefault(prompt.key, prompt)
    return list(prompts.values())


def draw_from(split: Split, rng: np.random.Generator) -> Problem:
    """One random task of a split."""
    num_steps = split.lengths[int(rng.integers(len(split.lengths)))]
    while True:
        task = draw_problem(rng, num_steps, limit=split.limit, any_order=split.unseen_order)
        if split.holds(task):
            break
    guess = draw_guess(task.truth, rng) if rng.random() < MIXTURE.guess else None
    return replace(task, guess=guess, told=split.told)
