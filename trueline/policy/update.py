"""What an optimiser gives back, and the one descent they share.

    theta <- theta - lr_s * AdamW(grad mean_i loss_i(theta))

with linear warm-up over the first tenth of the steps and linear decay to zero after it. The loss
is given per item, so that a batch of 8 and four accumulated batches of 2 are the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy

__all__ = ["Descent", "Update"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """A new policy and what was done to get it; the policy given in is left as it was."""

    policy: LoraPolicy
    stats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Descent:
    """AdamW over an adapter's weights. No weight decay; gradients clipped to norm 1."""

    learning_rate: float
    epochs: int
    batch_size: int = 32
    micro_batch_size: int | None = None
    """Items per forward pass; None = the whole batch. Changes memory, never the result."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.micro_batch_size or 1) < 1:
            raise InputError("epochs and batch sizes must be at least 1", got=str(self))

    def run(
        self,
        policy: LoraPolicy,
        loss: Callable[[np.ndarray], torch.Tensor],
        num_items: int,
        *,
        rng: np.random.Generator,
    ) -> list[float]:
        """Minimise the mean of `loss(indices) -> [n]` in place; the mean loss of every step."""
        parameters = policy.trainable()
        optimiser = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        order = np.concatenate([rng.permutation(num_items) for _ in range(self.epochs)])
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        losses = []
        for step, batch in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * _schedule(step, len(batches))
            optimiser.zero_grad(set_to_none=True)
            size = self.micro_batch_size or len(batch)
            total = 0.0
            for i in range(0, len(batch), size):
                part = loss(batch[i : i + size]).sum() / len(batch)
                part.backward()  # type: ignore[no-untyped-call]
                total += float(part.detach())
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            losses.append(total)
        return losses


def _schedule(step: int, num_steps: int) -> float:
    """Linear from 1/warm to 1 over the first tenth, then linear down to 1/num_steps."""
    warm = max(1, num_steps // 10)
    return min((step + 1) / warm, (num_steps - step) / max(1, num_steps - warm + 1))
