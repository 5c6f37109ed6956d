"""Cases of the embedded world whose better answer is known, for judges to be tried on."""

from __future__ import annotations

from trueline.data.cases import LabelledCase
from trueline.models.adapters import BasePolicy
from trueline.models.trunk import Trunk
from trueline.records import Case
from trueline.rng import stream
from trueline.worlds.sums import Sums

__all__ = ["sums_cases"]


def sums_cases(num: int, trunk: Trunk, *, seed: int) -> list[LabelledCase]:
    """Return cases of the embedded world: two answers of its model, of unequal gold."""
    world, rng = Sums(), stream(seed, "cases")
    policy = BasePolicy(trunk, max_new_tokens=80)
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
