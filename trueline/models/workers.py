"""The processes that share one job: how work is parted among them, and what only one may do.

    accelerate launch -m trueline run ...       every process runs the same program;
    rows = workers.share(n)                     each does its part of what can be parted,
    everything = workers.gather(mine)           all hold the whole afterwards,
    answer = workers.once(ask)                  and one alone asks people and writes files

Without a launcher there is one process, and nothing is imported for it. Processes talk over
`torch.distributed` as `accelerate` sets it up (nccl on GPUs, gloo on CPUs).

Fails, by waiting for ever, where processes part ways: what decides how many steps are made must be
gathered, or done once, never computed from numbers that may differ between machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """All processes of the launcher that started this one; alone if there was none."""

    @cached_property
    def _state(self) -> Any:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return None
        from accelerate import PartialState

        return PartialState()

    @property
    def num(self) -> int:
        """How many there are."""
        return 1 if self._state is None else int(self._state.num_processes)

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        return 0 if self._state is None else int(self._state.process_index)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that asks people and writes files."""
        return self.rank == 0

    def share(self, num_items: int) -> np.ndarray:
        """Which of `num_items` this process does: every `num`-th, so that sorted work is even."""
        return np.arange(self.rank, num_items, self.num)

    def gather(self, mine: Sequence[T]) -> list[T]:
        """All items in their order, from what each process made of its `share`."""
        if self.num == 1:
            return list(mine)
        parts = self._all(list(mine))
        whole: list[T] = [parts[0][0]] * sum(len(part) for part in parts) if parts[0] else []
        for rank, part in enumerate(parts):
            whole[rank :: self.num] = part
        return whole

    def once(self, act: Callable[[], T]) -> T:
        """Do it in the main process only; every process gets the result, or the error."""
        if self.num == 1:
            return act()
        if not self.is_main:
            result, error = self._told(None)
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]
        try:
            result = act()
        except Exception as error:
            self._told((None, error))
            raise
        self._told((result, None))
        return result

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum each tensor over all processes, in place, in one message."""
        if self.num == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Until all are here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    @staticmethod
    def _told(message: Any) -> Any:
        """The main process's message."""
        box = [message]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _all(self, mine: Any) -> list[Any]:
        parts: list[Any] = [None] * self.num
        torch.distributed.all_gather_object(parts, mine)
        return parts
