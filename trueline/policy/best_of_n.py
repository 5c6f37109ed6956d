"""Distilled best-of-n: learn to say at once what the best of n tries would have been.

    y*(x) = argmax_k lower(x, y_k),   y_k ~ pi(.|x)
    loss  = mean_x mean_t [ - log pi(y*_t) + beta * (r_t - 1 - log r_t) ],   r_t = (pi_ref/pi)(y*_t)

The second term is the never-negative estimate of a token's KL from the reference (Schulman's k3, as
in Shao et al. 2024, arXiv 2402.03300).

Best-of-n moves little (KL = log n - (n-1)/n nats, Gao et al. 2022, arXiv 2210.10760) and cannot
lower the likelihood of what it does not see, which is why it is the safe default. Distilling it
round by round is expert iteration / RAFT (Dong et al. 2023, arXiv 2304.06767).

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
from trueline.policy.descent import Descent
from trueline.policy.limits import Limits
from trueline.policy.losses import kl_k3, sum_tokens
from trueline.policy.reference import trunk_token_logps
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.protocols import Scorer
from trueline.records import Prompt

__all__ = ["BestOfN"]


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Sample n, keep the best by the lower bound, train the adapter on it."""

    num_samples: int = 8
    """n: tries per prompt."""
    beta: float = 0.0
    """Weight of the KL to the trunk on the tokens learned from; the pass it needs is made only if
    it is above 0."""
    length_penalty: float = 0.0
    """Taken off the lower bound for every token of an answer."""
    limits: Limits = field(default_factory=Limits)
    descent: Descent = field(default_factory=lambda: Descent(learning_rate=2e-3, epochs=3))

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Update:
        """One round: a new policy, distilled from the best of n samples of the old one."""
        return self.limits.watch(policy, prompts, scorer, rng=rng).round(
            policy,
            self._distil,
            num_samples=self.num_samples,
            length_penalty=self.length_penalty,
            rng=rng,
        )

    def _distil(
        self, policy: LoraPolicy, samples: Samples, rng: np.random.Generator
    ) -> dict[str, float]:
        chosen = [samples.rollouts.rows[samples.best(b)] for b in samples.informative()]
        reference = trunk_token_logps(policy, chosen) if self.beta else None

        def loss(indices: np.ndarray) -> torch.Tensor:
            logps, mask = policy.token_logps([chosen[i] for i in indices])
            cost = -logps
            if reference is not None:
                at = torch.as_tensor(indices, device=logps.device)
                cost = cost + self.beta * kl_k3(logps, reference[at, : logps.shape[1]])
            return sum_tokens(cost, mask, mask.sum(1).clamp(min=1))

        losses = self.descent.run(policy, loss, len(chosen), rng=rng)
        return {"loss_first": losses[0], "loss_last": losses[-1]}
