"""The one descent that optimisers share.

    theta <- theta - lr_s * AdamW(grad mean_i loss_i(theta))

with linear warm-up over the first tenth of the steps and linear decay to zero after it. The loss
is given per item, so that a batch of 8 and four accumulated batches of 2 are the same step, and so
are two processes with half of the items each: their gradients are added before the step.

That sum, over one flat tensor, is what DistributedDataParallel does bucket by bucket during the
backward pass (its mean over processes is right for equal shares only). Here only an adapter's
gradients travel, a few megabytes, there is nothing to hide behind the backward pass, and the same
line serves where the trunk's weights are parted (`models.sharding`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy

__all__ = ["Descent", "Loss", "Walk"]

Loss = Callable[[np.ndarray], torch.Tensor]
"""Loss per item [n] of the items with these numbers."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """AdamW over an adapter's weights. No weight decay; gradients clipped to norm 1."""

    learning_rate: float = 1e-3
    epochs: int = 1
    batch_size: int = 32
    micro_batch_size: int | None = None
    """Items per forward pass; None = the whole batch. Changes memory, never the result."""
    checkpointing: bool = False
    """Keep one activation a block and compute the rest again for its gradient (Chen et al. 2016,
    arXiv 1604.06174). Changes memory and time, never the result."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.micro_batch_size or 1) < 1:
            raise InputError("epochs and batch sizes must be at least 1", got=str(self))

    def run(
        self, policy: LoraPolicy, loss: Loss, num_items: int, *, rng: np.random.Generator
    ) -> list[float]:
        """Minimise the mean of `loss(indices) -> [n]` in place; the mean loss of every step."""
        order = np.concatenate([rng.permutation(num_items) for _ in range(self.epochs)])
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        walk = self.start(policy, len(batches))
        return [walk.step(batch, loss) for batch in batches]

    def start(self, policy: LoraPolicy, num_steps: int) -> Walk:
        """A descent of so many steps whose batches come one by one."""
        return Walk(self, policy, num_steps)


class Walk:
    """A descent under way: the optimiser's state and how many steps were made."""

    def __init__(self, descent: Descent, policy: LoraPolicy, num_steps: int) -> None:
        self._descent = descent
        self._policy = policy
        self._parameters = policy.trainable()
        self._workers = policy.trunk.workers
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=descent.learning_rate, weight_decay=0.0
        )
        self._num_steps = num_steps
        self._done = 0

    def step(self, batch: np.ndarray, loss: Loss) -> float:
        """One step on the mean loss of the batch's items, which is returned."""
        rate = self._descent.learning_rate * _schedule(self._done, self._num_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        mine = batch[self._workers.share(len(batch))]
        largest = -(-len(batch) // self._workers.num)
        total = sum(self._workers.each(lambda: self._descend(batch, mine, largest, loss)))
        self._workers.add([p.grad for p in self._parameters if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._done += 1
        return total

    def _descend(self, batch: np.ndarray, mine: np.ndarray, largest: int, loss: Loss) -> float:
        """This process's gradients; its part of the mean loss."""
        size = self._descent.micro_batch_size or largest
        total = 0.0
        for i in range(0, largest, size):
            part = mine[i : i + size]
            if not len(part) and not self._policy.trunk.sharded:
                break
            # Whoever has less to do goes through as many passes: weights are gathered in each.
            with self._recomputing():
                losses = loss(part if len(part) else batch[:1])
            cost = losses.sum() * (len(part) > 0) / len(batch)
            cost.backward()  # type: ignore[no-untyped-call]
            total += float(cost.detach())
        return total

    def _recomputing(self) -> contextlib.AbstractContextManager[None]:
        if self._descent.checkpointing:
            return self._policy.recomputing()
        return contextlib.nullcontext()


def _schedule(step: int, num_steps: int) -> float:
    """Linear from 1/warm to 1 over the first tenth, then linear down to 1/num_steps."""
    warm = max(1, num_steps // 10)
    return min((step + 1) / warm, (num_steps - step) / max(1, num_steps - warm + 1))
