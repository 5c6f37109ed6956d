"""GRPO: the policy gradient with each prompt's own samples as baseline, on the lower bound.

    R_k  = lower(x, y_k) - beta * [log pi(y_k) - log ref(y_k)],   y_k ~ pi(.|x)
    A    = group_relative(R)  or  rloo(R)
    loss = sum_k sum_t lag_kt * clipped_surrogate(y_kt) / mean length

Shao et al. 2024 (arXiv 2402.03300); RLOO: Ahmadian et al. 2024 (arXiv 2402.14740); sums over tokens
as in DAPO (Yu et al. 2025, arXiv 2503.14476). lag is 1, unless a sampler other than the model
itself said the tokens (see `losses`).

Where we differ: (1) the reward is its lower bound; (2) the KL to the reference is charged in the
reward, a number a sample, whose gradient is that of the KL itself, and not as a loss on tokens
(k3), whose gradient is not; it costs no pass, the trunk's reading for the reward has it already;
(3) unscored samples leave the group, they do not count as its mean; (4) fresh samples are held to
the limits before every step.

Fails where every sample of a prompt scores alike: nothing is learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.descent import Descent, Walk
from trueline.policy.limits import LIMITS, Limits
from trueline.policy.losses import (
    Advantages,
    Divisor,
    Lag,
    batch_length,
    clipped_surrogate,
    group_relative,
    kl_k3,
    sum_tokens,
    token_lag,
)
from trueline.policy.reference import Charge, Reference, in_reward, trunk
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.protocols import Scorer
from trueline.records import Prompt

__all__ = ["GRPO"]


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Fresh samples of the current policy at every step; `descent.epochs` passes over prompts."""

    num_samples: int = 8
    beta: float = 0.2
    """Weight of the KL to the reference, in units of the reward per nat; at a quarter of it a first
    round on few labels spent the KL budget on flattery (`benchmarks/gold_at_kl.py`)."""
    advantages: Advantages = group_relative
    """`group_relative` or `rloo`."""
    reference: Reference = trunk
    """`trunk` or `last_iterate`."""
    charge: Charge = in_reward
    """`in_reward`, or `in_loss`, which always charges for the way from the trunk."""
    divisor: Divisor = batch_length
    """`batch_length` (DAPO), `own_length` (GRPO) or `room_length` (Dr. GRPO)."""
    epsilon: float = 0.2
    """How far a token's probability ratio may move before it is clipped."""
    passes: int = 1
    """Steps on each batch of samples; from the second on, clipping is what holds them."""
    lag: Lag = token_lag
    """`token_lag` or `sequence_lag`: how samples that another sampler said are weighted."""
    lag_cap: float = 2.0
    """The largest such weight."""
    length_penalty: float = 0.0
    """Taken off the lower bound for every token of an answer."""
    limits: Limits = field(default_factory=Limits)
    descent: Descent = field(
        default_factory=lambda: Descent(learning_rate=3e-3, epochs=1, batch_size=16)
    )
    """Its batch size is in prompts, its epochs are passes over the prompts."""

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Update:
        """One round: fresh samples for every batch of prompts, until a limit is reached."""
        watch = self.limits.watch(policy, prompts, scorer, rng=rng)
        size, epochs = self.descent.batch_size, self.descent.epochs
        order = np.concatenate([rng.permutation(len(prompts)) for _ in range(epochs)])
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        new = policy.copy()
        walk = self.descent.start(new, len(batches) * self.passes)
        moved, stopped, unscored = [], None, []
        for batch in batches:
            samples = Samples.draw(
                new,
                [prompts[i] for i in batch],
                scorer,
                num_samples=self.num_samples,
                length_penalty=self.length_penalty,
                rng=rng,
            )
            unscored.append(samples.unscored_frac)
            stopped = watch.stop(samples)
            if stopped is None:
                moved.append(self._step(policy, new, samples, walk))
            elif stopped in LIMITS:
                break
        stats = {
            "prompts_used": float(sum(row["prompts_used"] for row in moved)),
            "unscored_frac": float(np.mean(unscored)),
        }
        if not moved:
            return Update(policy=policy, stats=stats | samples.stats(), stopped=stopped)
        stats = {**moved[-1], **stats, "steps": float(len(moved))}
        return watch.settle(policy, new, stats, stopped if stopped in LIMITS else None)

    def _step(
        self, start: LoraPolicy, policy: LoraPolicy, samples: Samples, walk: Walk
    ) -> dict[str, float]:
        """Learn from one batch of samples."""
        rolled, told = samples.rollouts, samples.informative()
        reference = self.reference(start, samples)
        rewards, trunk_logps = self.charge(policy, samples, reference, self.beta)
        grouped = np.full(rewards.shape, np.nan)
        grouped[told] = self.advantages(rewards[told])
        advantages = grouped.reshape(-1)
        used = np.flatnonzero(np.isfinite(advantages))
        lengths = np.array([len(logps) for logps in samples.logps])
        divisor = np.ones(len(lengths))
        divisor[used] = self.divisor(lengths[used], policy.max_new_tokens)

        def loss(indices: np.ndarray) -> torch.Tensor:
            logps, mask = policy.token_logps([rolled.rows[i] for i in indices])
            old = _padded([samples.logps[i] for i in indices], logps)
            weight = logps.new_tensor(advantages[indices])
            cost = clipped_surrogate(logps, old, weight, epsilon=self.epsilon)
            if policy.sampler is not None:
                said = _padded([rolled.logps[i] for i in indices], logps)
                cost = cost * self.lag(old, said, self.lag_cap)
            if trunk_logps is not None:
                at = torch.as_tensor(indices, device=logps.device)
                cost = cost + self.beta * kl_k3(logps, trunk_logps[at, : logps.shape[1]])
            return sum_tokens(cost, mask, logps.new_tensor(divisor[indices]))

        losses = [walk.step(used, loss) for _ in range(self.passes)]
        return {**samples.stats(), "prompts_used": float(len(told)), "loss": losses[-1]}


def _padded(rows: Sequence[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    """Rows of different lengths as [N, T], 0 where there is no token."""
    out = torch.zeros_like(like)
    for slots, row in zip(out, rows, strict=True):
        slots[: len(row)] = torch.from_numpy(row)
    return out
