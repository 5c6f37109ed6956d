"""The processes that share one job: how work is parted among them, and what only one may do.

    accelerate launch -m trueline run ...       every process runs the same program;
    columns = workers.spread(sizes, work)       each does its share, all hold the whole afterwards,
    workers.add(gradients)                      sums over all,
    answer = workers.once(ask)                  and one alone asks people and writes files

`accelerate` says how many there are, on which device each sits and how they talk (nccl between
GPUs, gloo between CPUs). Only small things and results travel here, through the hosts' memory, by a
gloo group of our own. Without a launcher there is one process, and nothing is imported for it.

An error in one process is raised in all, so that none waits for another that gave up; a process
that dies takes the others with it (the launcher ends them). What `once` does may take as long as
people take; all else fails after an hour of waiting.

Fails, by that hour, where processes part ways: what decides how many steps are made must come from
`spread` or `once`, never from numbers that may differ between machines in their last bits.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from trueline.errors import SetupError

__all__ = ["Workers"]

T = TypeVar("T")
Columns = tuple[Any, ...]
"""Arrays of one length; None for a column that there is not."""

_HOUR = timedelta(hours=1)
_MONTH = timedelta(days=30)


class Workers:
    """All processes of the launcher that started this one; alone if there was none."""

    _apart: ClassVar[bool] = False
    _alone: ClassVar[bool] = False
    """The main process is doing what it does once."""

    @property
    def num(self) -> int:
        """How many part the work here: 1 without a launcher, and within `apart`."""
        return 1 if self._apart or _groups() is None else torch.distributed.get_world_size()

    @property
    def rank(self) -> int:
        """Which of `num` this one is, from 0."""
        return 0 if self.num == 1 else torch.distributed.get_rank()

    @property
    def is_main(self) -> bool:
        """Whether this is the one that asks people and writes files."""
        return _groups() is None or torch.distributed.get_rank() == 0

    @property
    def sharded(self) -> bool:
        """Whether a trunk loaded here parts its weights: `accelerate launch --use_fsdp`."""
        return self.num > 1 and _said("ACCELERATE_USE_FSDP")

    @property
    def device(self) -> torch.device:
        """The device that `accelerate` gives to this process."""
        return torch.device(_placed().device)

    def share(self, num_items: int) -> np.ndarray:
        """Which of `num_items` this process does: neighbours, which may share a prompt."""
        return np.array_split(np.arange(num_items), self.num)[self.rank]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within this context nothing is parted: this process works for itself."""
        before, Workers._apart = self._apart, True
        try:
            yield
        finally:
            Workers._apart = before

    def each(self, act: Callable[[], T]) -> list[T]:
        """What `act` gave in each process, by rank; an error in one is raised in all."""
        if self.num == 1:
            return [act()]
        try:
            with self.apart():
                mine = act()
        except Exception as error:
            # Where weights are parted the others may stand in the middle of a pass: only this
            # process's end frees them.
            if not self.sharded:
                self._told((None, _sendable(error)))
            raise
        told = self._told((mine, None))
        for _, theirs in told:
            if theirs is not None:
                raise theirs
        return [result for result, _ in told]

    def spread(self, sizes: Sequence[int], work: Callable[[np.ndarray], Columns]) -> Columns:
        """All rows, from what each process made of its own: `work(rows)` -> columns [len(rows)].

        `sizes` says how much work a row is; each process gets neighbours, and as much as others.
        """
        if self.num == 1:
            return work(np.arange(len(sizes)))
        upto = np.cumsum(sizes)
        owner = (upto - np.asarray(sizes) / 2) * self.num // sum(sizes)
        mine = np.flatnonzero(owner == self.rank)
        parts = self.each(lambda: work(mine))
        columns: Iterator[Any] = zip(*parts, strict=True)
        return tuple(None if c[0] is None else np.concatenate(c) for c in columns)

    def once(self, act: Callable[[], T]) -> T:
        """Do it in the main process only; every process gets the result, or the error."""
        if self.num == 1:
            return act()
        if not self.is_main:
            result, error = self._from_main(None)
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]
        Workers._alone = True
        try:
            with self.apart():
                result = act()
        except Exception as error:
            self._from_main((None, _sendable(error)))
            raise
        finally:
            Workers._alone = False
        self._from_main((result, None))
        return result

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum each tensor over all processes, in place, in one message."""
        if self.num == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        group = _groups()[0] if flat.device.type == "cpu" else None
        torch.distributed.all_reduce(flat, group=group)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def most(self, number: int) -> int:
        """The largest of the processes' numbers; they ask even within `apart`."""
        if self._alone:
            raise SetupError(
                "a trunk whose weights are parted must be run by all processes alike",
                got="one that only the main process runs",
                do="launch without --use_fsdp, or give raters and helpers a model of their own",
            )
        box = torch.tensor(number)
        torch.distributed.all_reduce(box, torch.distributed.ReduceOp.MAX, group=_groups()[0])
        return int(box)

    def wait(self) -> None:
        """Until all are here."""
        if self.num > 1:
            torch.distributed.barrier(group=_groups()[1])

    def _told(self, mine: Any) -> list[Any]:
        """Everyone's message, by rank."""
        told: list[Any] = [None] * self.num
        torch.distributed.all_gather_object(told, mine, group=_groups()[0])
        return told

    @staticmethod
    def _from_main(message: Any) -> Any:
        """The main process's message, however long it takes."""
        box = [message]
        torch.distributed.broadcast_object_list(box, src=0, group=_groups()[1])
        return box[0]


@cache
def _groups() -> Any:
    """Two gloo groups, for what takes an hour at most and for people; None if alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "LOCAL_RANK" not in os.environ:
        return None
    _placed()
    new = torch.distributed.new_group
    return new(backend="gloo", timeout=_HOUR), new(backend="gloo", timeout=_MONTH)


def _placed() -> Any:
    """accelerate's view of this process; on CPUs it must be told that there is nothing better."""
    from accelerate import PartialState

    cpu = _said("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu)


def _said(variable: str) -> bool:
    """Whether the launcher set it."""
    return os.environ.get(variable, "false").lower() == "true"


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, AttributeError, ImportError, TypeError, ValueError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
