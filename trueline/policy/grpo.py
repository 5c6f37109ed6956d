"""GRPO: the policy gradient with each prompt's own samples as baseline, on the lower bound.

    R_k  = lower(x, y_k) - beta * [log pi(y_k) - log ref(y_k)],   y_k ~ pi(.|x)
    A    = group_relative(R)  or  rloo(R)
    loss = sum_k sum_t clipped_surrogate(y_kt) / mean length

Shao et al. 2024 (arXiv 2402.03300); RLOO: Ahmadian et al. 2024 (arXiv 2402.14740); sums over tokens
as in DAPO (Yu et al. 2025, arXiv 2503.14476).

Where we differ: (1) the reward is its lower bound; (2) the KL to the reference is charged in the
reward, a number a sample, whose gradient is that of the KL itself, and not as a loss on tokens
(k3), whose gradient is not; it costs no pass, the trunk's reading for the reward has it already;
(3) unscored samples leave the group, they do not count as its mean.

Fails where every sample of a prompt scores alike: nothing is learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.descent import Descent, Walk
from trueline.policy.losses import Advantages, clipped_surrogate, group_relative
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.records import Prompt
from trueline.roles import Scorer

__all__ = ["GRPO"]


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Fresh samples of the current policy at every step; `descent.epochs` passes over prompts."""

    num_samples: int = 8
    beta: float = 0.05
    """Weight of the KL to the reference, in units of the reward per nat."""
    advantages: Advantages = group_relative
    epsilon: float = 0.2
    """How far a token's probability ratio may move before it is clipped."""
    descent: Descent = field(
        default_factory=lambda: Descent(learning_rate=2e-3, epochs=1, batch_size=16)
    )
    """Its batch size is in prompts."""

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Update:
        """One round: as many on-policy steps as there are batches of prompts."""
        size, epochs = self.descent.batch_size, self.descent.epochs
        order = np.concatenate([rng.permutation(len(prompts)) for _ in range(epochs)])
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        new = policy.copy()
        walk = self.descent.start(new, len(batches))
        rows = [
            self._step(new, [prompts[i] for i in batch], scorer, walk, rng) for batch in batches
        ]
        moved = [row for row in rows if row["rows_used"]]
        if not moved:
            return Update(policy=policy, stats={"prompts_used": 0.0, **rows[-1]})
        used = sum(row["prompts_used"] for row in rows)
        return Update(policy=new, stats={**moved[-1], "prompts_used": used})

    def _step(
        self,
        policy: LoraPolicy,
        prompts: list[Prompt],
        scorer: Scorer,
        walk: Walk,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        samples = Samples.draw(policy, prompts, scorer, num_samples=self.num_samples, rng=rng)
        rolled = samples.rollouts
        log_ratio = self._reference_gap(policy, samples)
        advantages = self.advantages(samples.lower - self.beta * log_ratio)
        telling = samples.informative()
        teaches = np.zeros_like(advantages, dtype=bool)
        teaches[telling] = np.isfinite(advantages[telling])
        advantages, used = advantages.reshape(-1), np.flatnonzero(teaches)
        stats = {
            "prompts_used": float(len(telling)),
            "rows_used": float(len(used)),
            "unscored_frac": samples.unscored_frac,
        }
        if not len(used):
            return stats
        length = float(np.mean([len(rolled.logps[i]) for i in used]))

        def loss(indices: np.ndarray) -> torch.Tensor:
            logps, mask = policy.token_logps([rolled.rows[i] for i in indices])
            old = torch.zeros_like(logps)
            for row, i in enumerate(indices):
                old[row, : len(rolled.logps[i])] = torch.from_numpy(rolled.logps[i])
            at = torch.as_tensor(advantages[indices], dtype=logps.dtype, device=logps.device)
            cost = clipped_surrogate(logps, old, at, epsilon=self.epsilon)
            return (cost * mask).sum(1) / length

        return {**stats, "kl": float(np.mean(log_ratio)), "loss": walk.step(used, loss)}

    def _reference_gap(self, policy: LoraPolicy, samples: Samples) -> np.ndarray:
        """log pi(y) - log ref(y) of each sample, [B, K], in nats."""
        rolled = samples.rollouts
        with torch.no_grad(), policy.off():
            reference = policy.logp(rolled.rows).double().cpu().numpy()
        said = np.array([logps.sum() for logps in rolled.logps])
        return np.asarray((said - reference).reshape(samples.lower.shape))
