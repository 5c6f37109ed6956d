"""Say, before the first label of a step is bought, why labels could change nothing there.

    learn      the reward is a rule, which learns nothing; every answer was cut and is left out; no
               prompt has two different answers; no answer has a score; the KL budget is spent
    certify    n labels bring the bet to at most 1.4^n, and it must reach 1/alpha

Such labels are not bought; the reason is told and stands among the round's `notes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.models.rollouts import Rollouts, Sampling
from trueline.policy import Limits, Samples, Update
from trueline.records import Case, Response, Scores
from trueline.rewards.protocols import Head
from trueline.rewards.rules import Rule

__all__ = ["learns_nothing", "not_improved", "why_not"]

_ROWS = 512
"""So many answers tell whether the KL budget is spent."""
_GRADED = 32
"""So many tell whether a rule scores any: it may run code for each."""
_STOPPED = {
    "alike": "every prompt's samples score alike",
    "unscored": "no sample has a score",
    "kl": "the KL budget is spent",
    "novelty": "half of its answers are too far from what the reward has learned from",
}


def learns_nothing(head: Head) -> str | None:
    """Return that comparisons teach a reward nothing, being made of rules and of principles'
    concepts alone; else None."""
    leaves = list(_leaves(head))
    if not all(isinstance(x, Rule) or getattr(x, "principle", None) for x in leaves):
        return None
    what = "a rule" if all(isinstance(leaf, Rule) for leaf in leaves) else "made of principles"
    return f"no labels to learn from are asked for: the reward is {what}; set budget.gate_frac=1"


def why_not(
    policy: LoraPolicy, cases: Sequence[Case], rolled: Rollouts, readings: Readings, how: Any
) -> str | None:
    """Return why labels of these cases, made of what the policy said, would teach nothing, and what
    to do; None where they may. `how` has the `reward` to be fitted and the `optimiser`."""
    if not cases:
        return _no_pairs(rolled, policy.sampling)
    limits: Limits | None = getattr(how.optimiser, "limits", None)
    # A policy that is the trunk still has spent nothing of a KL budget.
    adapter = policy.adapted.named_parameters()
    moved = any(bool(p.any()) for name, p in adapter if "lora_B" in name)
    why = _unscored(how.reward, rolled.flat[:_GRADED])
    return why or (_kl_spent(policy, rolled, readings, limits) if moved and limits else None)


def _no_pairs(rolled: Rollouts, how: Sampling) -> str:
    cut = f"{rolled.cut.mean():.0%} of the answers were cut"
    if how.cut == "leave_out" and rolled.cut.all():
        room = f"raise policy.max_new_tokens ({how.max_new_tokens}) or set policy.cut=score"
        return f"{cut}, and cut answers are left out; {room}"
    return f"no prompt has two different answers ({cut}); raise policy.temperature"


def _unscored(head: Head, answers: Sequence[Response]) -> str | None:
    """Labels can teach a head to score what it cannot score yet, but not the rules beside it."""
    for rule in _leaves(head):
        grades = rule.grade(answers) if isinstance(rule, Rule) else [0.0]
        if all(isinstance(grade, str) for grade in grades):
            found = f"the rule {rule.kind} scores none of {len(grades)} answers ({grades[0]})"
            return f"{found}; change the rule or the prompts"
    return None


def _kl_spent(
    policy: LoraPolicy, rolled: Rollouts, readings: Readings, limits: Limits
) -> str | None:
    part = rolled.first(_ROWS)
    nothing = np.full(len(part.rows), np.nan)
    unscored = Scores(nothing, nothing, nothing, nothing, np.zeros(len(nothing), bool))
    samples = Samples.of(policy, part, unscored, readings)
    if not limits.kl_spent(samples):
        return None
    spent = f"the KL budget is spent ({samples.log_ratio.mean():.2f} nats of {limits.kl_budget:g})"
    return f"{spent}; raise policy.limits.kl_budget or lower budget.rounds"


def not_improved(update: Update) -> str:
    """Return why an optimiser handed its policy back, in words."""
    cut = update.stats.get("cut_frac")
    said = _STOPPED.get(str(update.stopped), str(update.stopped))
    return f"the policy stays as it is: {said}" + (f" ({cut:.0%} were cut)" if cut else "")


def _leaves(head: Any) -> Iterator[Any]:
    """Yield the rewards that a reward is made of in the end."""
    values = [getattr(head, f.name) for f in dataclasses.fields(head)]
    values += [part for value in values if isinstance(value, Mapping) for part in value.values()]
    inner = [value for value in values if dataclasses.is_dataclass(value) and hasattr(value, "fit")]
    if not inner or isinstance(head, Rule):
        yield head
    else:
        for part in inner:
            yield from _leaves(part)
