"""GRPO: the policy gradient with each prompt's own samples as baseline, on the lower bound.

    R_k  = lower(x, y_k) - beta * [log pi(y_k) - log ref(y_k)],   y_k ~ pi(.|x),  ref the trunk
    A_k  = (R_k - mean_j R_j) / (std_j R_j + 1e-4)
    loss = - sum_k sum_t min(r_t A, clip(r_t, 1 - eps, 1 + eps) A) / mean length,
           r_t = pi(y_kt) / q(y_kt),   q what sampled

Shao et al. 2024 (arXiv 2402.03300); clipping: Schulman et al. 2017 (1707.06347); sums over tokens
as in DAPO (Yu et al. 2025, arXiv 2503.14476). Tests hold advantages and loss against TRL's.

Where we differ: (1) the reward is its lower bound; (2) the KL to the trunk is charged in the
reward, a number a sample, whose gradient is that of the KL itself, and not as a loss on tokens
(k3), whose gradient is not; it costs no pass, the trunk's reading for the reward has it already;
(3) unscored samples (NaN) leave the group, and a group of fewer than two teaches nothing; (4) fresh
samples are held to the limits before every step; (5) where an engine sampled the tokens, the ratio
is that to the engine's own log-probabilities, clipped, and no weight besides.

Fails where every sample of a prompt scores alike: nothing is learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.adamw import AdamWSettings, GradientSteps
from trueline.policy.limits import Limits, Update
from trueline.policy.samples import Samples
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import Rng, torch_seed

__all__ = ["GRPO", "clipped_surrogate", "group_relative"]


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Fresh samples of the current policy at every step; `adamw.epochs` passes over the prompts."""

    num_samples: int = 8
    """K: samples per prompt."""
    beta: float = 0.2
    """Weight of the KL to the trunk, in units of the reward per nat; at a quarter of it a first
    round on few labels spent the KL budget on flattery (`benchmarks/gold_at_kl.py`)."""
    epsilon: float = 0.2
    """How far a token's probability ratio to what sampled it may go before it is clipped."""
    limits: Limits = field(default_factory=Limits)
    """What the new policy may not leave."""
    adamw: AdamWSettings = field(
        default_factory=lambda: AdamWSettings(learning_rate=3e-3, epochs=1, batch_size=16)
    )
    """The gradient steps; its batch size is in prompts."""

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: Rng,
    ) -> Update:
        """Return a new policy, by fresh samples for every batch of prompts until a limit."""
        seed = torch_seed(rng)
        batches = self.adamw.batches(len(prompts), rng=rng)
        new = policy.copy()
        steps = GradientSteps(self.adamw, new, len(batches))
        for batch in steps.through(batches, "GRPO steps", rng=rng):
            asked = [prompts[i] for i in batch]
            samples = Samples.draw(new, asked, scorer, self.num_samples, rng=rng)
            over = self.limits.broken(samples)
            stopped = over or samples.uninformative()
            moved = None if stopped else self._step(new, samples, steps)
            steps.rows.append([samples.counts() | samples.stats(), moved, stopped])
            if over:
                break
        said, stopped = [row[0] for row in steps.rows], steps.rows[-1][2]
        moves = [row[1] for row in steps.rows if row[1]]
        stats = {
            "prompts_used": float(sum(row["prompts_used"] for row in moves)),
            "unscored_frac": float(np.mean([row["unscored_frac"] for row in said])),
        }
        if not moves:
            return Update(policy=policy, stats=said[-1] | stats, stopped=stopped)
        stats = {**moves[-1], **stats, "steps": float(len(moves))}
        update = self.limits.keep(policy, new, prompts, scorer, seed=seed, stats=stats)
        # The limit that ended the steps is the reason, whatever the last samples show.
        return replace(update, stopped=stopped) if stopped in ("novelty", "kl") else update

    def _step(self, policy: LoraPolicy, samples: Samples, steps: GradientSteps) -> dict[str, float]:
        """Learn from one batch of samples."""
        rollouts, informative = samples.rollouts, samples.informative()
        rewards = samples.lower - self.beta * samples.log_ratio
        grouped = np.full(rewards.shape, np.nan)
        grouped[informative] = group_relative(rewards[informative])
        advantages = grouped.reshape(-1)
        used = np.flatnonzero(np.isfinite(advantages))
        # Every token counts the same: rows are divided by the mean length of all, as in DAPO.
        length = max(1.0, float(np.mean([len(rollouts.logps[i]) for i in used])))

        def loss(items: np.ndarray) -> torch.Tensor:
            logps, mask = policy.token_logps([rollouts.rows[i] for i in items])
            old = _padded([rollouts.logps[i] for i in items], logps)
            weight = logps.new_tensor(advantages[items])
            cost = clipped_surrogate(logps, old, weight, epsilon=self.epsilon)
            return (cost * mask).sum(1) / length

        longest = max(len(rollouts.rows[i].ids) for i in used)
        cost = steps.step(used, loss, longest)
        return {**samples.stats(), "prompts_used": float(len(informative)), "loss": cost}


def clipped_surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """Return the clipped policy-gradient loss per token [N, T] of advantages [N]."""
    ratio = torch.exp(logps - old_logps)
    weight = advantages[:, None]
    return -torch.minimum(ratio * weight, ratio.clamp(1 - epsilon, 1 + epsilon) * weight)


def group_relative(rewards: np.ndarray) -> np.ndarray:
    """Return rewards [B, K] standardised within each prompt's group; NaN = unscored, in both."""
    counts = np.isfinite(rewards).sum(1, keepdims=True)
    centred = rewards - np.nansum(rewards, 1, keepdims=True) / np.maximum(counts, 1)
    spread = np.sqrt(np.nansum(centred**2, 1, keepdims=True) / np.maximum(counts - 1, 1))
    return np.where(counts > 1, centred / (spread + 1e-4), np.nan)


def _padded(rows: Sequence[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    """Return rows of different lengths as [N, T], 0 where there is no token."""
    out = torch.zeros_like(like)
    for slots, row in zip(out, rows, strict=True):
        slots[: len(row)] = torch.from_numpy(row)
    return out
