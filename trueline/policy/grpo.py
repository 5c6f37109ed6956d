"""GRPO: the policy gradient with each prompt's own samples as baseline, on the lower bound.

    R_k  = lower(x, y_k) - beta * [log pi(y_k) - log ref(y_k)],   y_k ~ pi(.|x),  ref the trunk
    A    = group_relative(R)  or  rloo(R)
    loss = sum_k sum_t clipped_surrogate(y_kt) / mean length

Shao et al. 2024 (arXiv 2402.03300); RLOO: Ahmadian et al. 2024 (arXiv 2402.14740); sums over tokens
as in DAPO (Yu et al. 2025, arXiv 2503.14476).

Where we differ: (1) the reward is its lower bound; (2) the KL to the trunk is charged in the
reward, a number a sample, whose gradient is that of the KL itself, and not as a loss on tokens
(k3), whose gradient is not; it costs no pass, the trunk's reading for the reward has it already;
(3) unscored samples leave the group, they do not count as its mean; (4) fresh samples are held to
the limits before every step; (5) where an engine sampled the tokens, the surrogate's ratio is that
to the engine's own log-probabilities: the token importance ratio, clipped, and no weight besides.

Fails where every sample of a prompt scores alike: nothing is learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.adamw import AdamWSettings, GradientSteps
from trueline.policy.limits import LIMITS, Limits, Update
from trueline.policy.losses import ADVANTAGES, clipped_surrogate
from trueline.policy.samples import Samples
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import torch_seed

__all__ = ["GRPO"]


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Fresh samples of the current policy at every step; `adamw.epochs` passes over the prompts."""

    num_samples: int = 8
    """K: samples per prompt."""
    beta: float = 0.2
    """Weight of the KL to the trunk, in units of the reward per nat; at a quarter of it a first
    round on few labels spent the KL budget on flattery (`benchmarks/gold_at_kl.py`)."""
    advantages: Literal["group_relative", "rloo"] = "group_relative"
    """The baseline of each sample."""
    epsilon: float = 0.2
    """How far a token's probability ratio may move before it is clipped."""
    num_iterations: int = 1
    """Steps on each batch of samples; from the second on, clipping is what holds them."""
    length_penalty: float = 0.0
    """Taken off the lower bound for every token of an answer."""
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
        rng: np.random.Generator,
    ) -> Update:
        """Return a new policy, by fresh samples for every batch of prompts until a limit."""
        seed = torch_seed(rng)
        batches = self.adamw.batches(len(prompts), rng=rng)
        new = policy.copy()
        steps = GradientSteps(self.adamw, new, len(batches) * self.num_iterations)
        moved, unscored, stopped = [], [], None
        for batch in batches:
            asked = [prompts[i] for i in batch]
            samples = Samples.draw(
                new, asked, scorer, self.num_samples, rng=rng, length_penalty=self.length_penalty
            )
            unscored.append(samples.counts()["unscored_frac"])
            if stopped := self.limits.broken(samples):
                break
            if (stopped := samples.uninformative()) is None:
                moved.append(self._step(new, samples, steps))
        stats = {
            "prompts_used": float(sum(row["prompts_used"] for row in moved)),
            "unscored_frac": float(np.mean(unscored)),
        }
        if not moved:
            return Update(policy=policy, stats=stats | samples.stats(), stopped=stopped)
        stats = {**moved[-1], **stats, "steps": float(len(moved))}
        update = self.limits.keep(policy, new, prompts, scorer, seed=seed, stats=stats)
        # The limit that ended the steps is the reason, whatever the last samples show.
        return replace(update, stopped=stopped) if stopped in LIMITS else update

    def _step(self, policy: LoraPolicy, samples: Samples, steps: GradientSteps) -> dict[str, float]:
        """Learn from one batch of samples."""
        rollouts, informative = samples.rollouts, samples.informative()
        rewards = samples.lower - self.beta * samples.log_ratio
        grouped = np.full(rewards.shape, np.nan)
        grouped[informative] = ADVANTAGES[self.advantages](rewards[informative])
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

        losses = [steps.step(used, loss) for _ in range(self.num_iterations)]
        return {**samples.stats(), "prompts_used": float(len(informative)), "loss": losses[-1]}


def _padded(rows: Sequence[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    """Return rows of different lengths as [N, T], 0 where there is no token."""
    out = torch.zeros_like(like)
    for slots, row in zip(out, rows, strict=True):
        slots[: len(row)] = torch.from_numpy(row)
    return out
