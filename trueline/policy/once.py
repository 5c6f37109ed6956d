"""One round on one batch of samples: draw, see whether anything can be learned, learn, settle.

What `BestOfN` and `DPO` share; `GRPO` draws anew for every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from trueline.models.adapters import LoraPolicy
from trueline.policy.limits import Limits
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.records import Prompt
from trueline.roles import Scorer

__all__ = ["Learn", "once"]

Learn = Callable[[LoraPolicy, Samples, np.random.Generator], dict[str, float]]
"""Trains a policy in place on its own samples, some of which are informative; what was measured."""


class _Spec(Protocol):
    @property
    def num_samples(self) -> int: ...
    @property
    def length_penalty(self) -> float: ...
    @property
    def limits(self) -> Limits: ...


def once(
    spec: _Spec,
    policy: LoraPolicy,
    prompts: Sequence[Prompt],
    scorer: Scorer,
    learn: Learn,
    *,
    rng: np.random.Generator,
) -> Update:
    """One round of `learn`, within the limits."""
    watch = spec.limits.watch(policy, prompts, scorer, rng=rng)
    samples = Samples.draw(
        policy,
        prompts,
        scorer,
        num_samples=spec.num_samples,
        length_penalty=spec.length_penalty,
        rng=rng,
    )
    used = float(len(samples.informative()))
    stats = {"prompts_used": used, "unscored_frac": samples.unscored_frac}
    if stopped := watch.stop(samples):
        return Update(policy=policy, stats=stats, stopped=stopped)
    new = policy.copy()
    return watch.settle(policy, new, stats | learn(new, samples, rng))
