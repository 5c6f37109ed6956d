"""Distilled best-of-n: learn to say at once what the best of n samples would have been.

    y*(x) = argmax_k lower(x, y_k),   y_k ~ pi(.|x),   KL(pi* || pi) = log n - (n - 1) / n
    loss  = - mean_x mean_t log pi(y*_t)

The KL is exact where no two answers score alike and none comes twice, and else an upper bound (Gao
et al. 2022, arXiv 2210.10760; Beirami et al. 2024, arXiv 2401.01879). It moves little and cannot
lower the likelihood of what it does not see: the safe default. Distilling it round by round is
expert iteration / RAFT (Dong et al. 2023, arXiv 2304.06767).

Where we differ: (1) the choice is by the reward's lower bound, not its mean; (2) a prompt whose
samples all score alike teaches nothing and is left out; (3) unscored samples are never chosen.

Fails where no sample is good: it sharpens what the policy already does now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.adamw import AdamWSettings
from trueline.policy.limits import Limits, Update
from trueline.policy.samples import Samples
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import Rng

__all__ = ["BestOfN"]


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Sample n, keep the best by the lower bound, train the adapter on it."""

    num_samples: int = 8
    """n: samples per prompt."""
    limits: Limits = field(default_factory=Limits)
    """What the new policy may not leave."""
    adamw: AdamWSettings = field(
        default_factory=lambda: AdamWSettings(learning_rate=2e-3, epochs=3)
    )
    """The gradient steps."""

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: Rng,
    ) -> Update:
        """Return a new policy, distilled from the best of n samples of the given one."""
        return self.limits.improve(
            policy, prompts, scorer, self._distil, num_samples=self.num_samples, rng=rng
        )

    def _distil(self, policy: LoraPolicy, samples: Samples, rng: Rng) -> dict[str, float]:
        chosen = [samples.rollouts.rows[i] for i in samples.extremes()[0]]

        def loss(items: np.ndarray) -> torch.Tensor:
            logps, mask = policy.token_logps([chosen[i] for i in items])
            return -(logps * mask).sum(1) / mask.sum(1).clamp(min=1)

        longest = max(len(row.ids) for row in chosen)
        losses = self.adamw.minimise(policy, loss, len(chosen), num_tokens=longest, rng=rng)
        return {"loss_first": losses[0], "loss_last": losses[-1]}
