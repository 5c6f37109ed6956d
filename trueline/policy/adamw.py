"""Gradient steps on an adapter's weights, shared by all optimisers.

    theta <- theta - lr_s * AdamW(grad mean_i loss_i(theta))

with linear warm-up over the first tenth of the steps and linear decay to zero after it. The loss
is given per item, so that a batch of 8, four accumulated batches of 2, and two processes with half
of the items each are the same step: gradients are added (a mean over processes, as
DistributedDataParallel takes, is right for equal shares only).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy
from trueline.models.unfinished import digest
from trueline.progress import track
from trueline.rng import Rng

__all__ = ["AdamWSettings", "GradientSteps", "Loss"]

EVERY_S = 15.0
"""How often what was done is kept, where the trunk has a place for it."""
_MOMENTS = ("exp_avg", "exp_avg_sq")

Loss = Callable[[np.ndarray], torch.Tensor]
"""From item numbers [n] to the loss of each item [n]."""


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """AdamW over an adapter's weights. No weight decay; gradients clipped to norm 1.

    >>> AdamWSettings(learning_rate=1e-4, batch_size=64, micro_batch_size=8).epochs
    1
    """

    learning_rate: float = 1e-3
    """Peak learning rate."""
    epochs: int = 1
    """Passes over the items."""
    batch_size: int = 32
    """Items a step."""
    micro_batch_size: int | None = None
    """Items per forward pass; None = as many as fit into memory. Never changes the result."""
    gradient_checkpointing: bool = False
    """Keep one activation a block and compute the rest again for its gradient (Chen et al. 2016,
    arXiv 1604.06174). Changes memory and time, never the result."""

    def __post_init__(self) -> None:
        micro = 1 if self.micro_batch_size is None else self.micro_batch_size
        if min(self.epochs, self.batch_size, micro) < 1:
            raise InputError("epochs and batch sizes must be at least 1", got=str(self))
        if not self.learning_rate > 0:
            raise InputError("learning_rate must be above 0", got=str(self.learning_rate))

    def batches(self, num_items: int, *, rng: Rng) -> list[np.ndarray]:
        """Return the items of every step: `epochs` shuffled passes over all of them."""
        order = np.concatenate([rng.permutation(num_items) for _ in range(self.epochs)])
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def minimise(
        self, policy: LoraPolicy, loss: Loss, num_items: int, *, num_tokens: int, rng: Rng
    ) -> list[float]:
        """Minimise the mean of `loss(items) -> [n]` in place; return the mean loss of each step.

        `num_tokens` are those of the longest item.
        """
        batches = self.batches(num_items, rng=rng)
        steps = GradientSteps(self, policy, len(batches))
        for batch in steps.through(batches, "gradient steps", rng=rng):
            steps.rows.append(steps.step(batch, loss, num_tokens))
        return steps.rows


class GradientSteps:
    """AdamW under way: its moments, and how many of `num_steps` steps were made.

    `rows` holds plain data, one item for each batch of `through`, which its user appends.
    """

    def __init__(self, settings: AdamWSettings, policy: LoraPolicy, num_steps: int) -> None:
        self._settings = settings
        self._policy = policy
        self._parameters = policy.trainable()
        self._workers = policy.trunk.workers
        self._adamw = torch.optim.AdamW(self._parameters, weight_decay=0.0)
        self._num_steps = num_steps
        self._done = 0
        self.rows: list[Any] = []

    def through(
        self, batches: Sequence[np.ndarray], what: str, *, rng: Rng
    ) -> Iterator[np.ndarray]:
        """Yield the batches, from where a killed run was; `rng` is what is drawn from meanwhile."""
        kept, main = self._policy.trunk.unfinished, self._workers.rank == 0
        about = repr(self._settings), *self._parameters, *batches, rng.bit_generator.state
        key = f"steps-{digest(*about)}"
        if kept is not None and (found := self._workers.once(lambda: kept.get(key))) is not None:
            self._restore(*found, rng)
        kept_at = time.monotonic()
        for number, batch in enumerate(track(batches[len(self.rows) :], what), len(self.rows) + 1):
            yield batch
            due = number == len(batches) or time.monotonic() - kept_at > EVERY_S
            if kept is not None and main and due:
                kept.put(key, *self._state(rng))
                kept_at = time.monotonic()

    def _state(self, rng: Rng) -> tuple[dict[str, torch.Tensor], list[Any]]:
        tensors: dict[str, torch.Tensor] = {}
        for i, parameter in enumerate(self._parameters):
            state = self._adamw.state[parameter]
            tensors[f"{i}.weight"] = parameter
            tensors |= {f"{i}.{name}": state[name] for name in _MOMENTS if name in state}
        return tensors, [self._done, self.rows, rng.bit_generator.state]

    @torch.no_grad()
    def _restore(self, tensors: dict[str, torch.Tensor], words: list[Any], rng: Rng) -> None:
        self._done, self.rows, rng.bit_generator.state = words
        for i, parameter in enumerate(self._parameters):
            parameter.copy_(tensors[f"{i}.weight"])
            if self._done:
                moments = {n: tensors[f"{i}.{n}"].to(parameter.device) for n in _MOMENTS}
                step = torch.tensor(float(self._done))
                self._adamw.state[parameter] = {"step": step, **moments}

    def step(self, batch: np.ndarray, loss: Loss, num_tokens: int) -> float:
        """Make one step on the mean loss of the batch's items, of at most `num_tokens` each; return
        that mean."""
        rate = self._settings.learning_rate * _schedule(self._done, self._num_steps)
        for group in self._adamw.param_groups:
            group["lr"] = rate
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        # Neighbours, which may share a prompt.
        mine = np.array_split(batch, self._workers.num)[self._workers.rank]
        fitting = max(1, self._policy.tokens_at_once // num_tokens)
        size = self._settings.micro_batch_size or fitting
        total = sum(self._workers.each(lambda: self._backward(batch, mine, size, loss)))
        self._workers.add([p.grad for p in self._parameters if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adamw.step()
        self._done += 1
        return total

    def _backward(self, batch: np.ndarray, mine: np.ndarray, size: int, loss: Loss) -> float:
        """Accumulate this process's gradients; return its part of the mean loss."""
        largest, total = -(-len(batch) // self._workers.num), 0.0
        for i in range(0, largest, size):
            part = mine[i : i + size]
            if not len(part) and not self._policy.trunk.sharded:
                break
            # Whoever has less to do goes through as many passes: weights are gathered in each.
            recompute = self._settings.gradient_checkpointing
            with self._policy.recomputing() if recompute else contextlib.nullcontext():
                losses = loss(part if len(part) else batch[:1])
            cost = losses.sum() * (len(part) > 0) / len(batch)
            cost.backward()  # type: ignore[no-untyped-call]
            total += float(cost.detach())
        return total


def _schedule(step: int, num_steps: int) -> float:
    """Linear from 1/warm to 1 over the first tenth, then linear down to 1/num_steps."""
    warm = max(1, num_steps // 10)
    return min((step + 1) / warm, (num_steps - step) / max(1, num_steps - warm + 1))
