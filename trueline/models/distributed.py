"""Share one job among the processes that `accelerate launch` started.

    accelerate launch -m trueline run ...       every process runs the same program

    rows = workers.spread(sizes, work)          each does its share, all get all rows
    workers.add(gradients)                      sum over all processes
    answer = workers.once(ask)                  the main process alone asks people and writes files

An error in one process is raised in all; when a process dies the launcher ends the others. What
`once` does may take as long as people take; every other wait ends after an hour.

`shard` parts a trunk's weights (`accelerate launch --use_fsdp`) with torch's `fully_shard` (Zhao et
al. 2023, arXiv 2304.11277) while gradient steps are made; within `whole` every process holds all of
them. Where we differ from accelerate's own plug-in: (1) the unit is the linear map, because a
policy's module tree shares just these modules with the trunk's; (2) adapters, embeddings and a head
tied to them stay whole.

Fails, by that hour, where processes part ways: what decides how many steps are made must come from
`spread` or `once`, never from numbers that may differ between machines in their last bits.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from trueline.errors import SetupError

__all__ = ["Workers", "shard", "shards_of", "whole"]

T = TypeVar("T")
Columns = tuple[Any, ...]
"""Arrays of one length; None for a column that there is not."""


class Workers:
    """All processes of the launcher that started this one; alone if there was none."""

    _apart: ClassVar[bool] = False

    @property
    def num(self) -> int:
        """How many share the work here: 1 without a launcher, and within `once` and `each`."""
        return 1 if self._apart or not _launched() else int(_state().num_processes)

    @property
    def rank(self) -> int:
        """Which of `num` this one is, from 0."""
        return 0 if self.num == 1 else int(_state().process_index)

    @property
    def sharded(self) -> bool:
        """Whether a trunk loaded here parts its weights: `accelerate launch --use_fsdp`."""
        return self.num > 1 and _is_set("ACCELERATE_USE_FSDP")

    @property
    def device(self) -> torch.device:
        """The device that `accelerate` gives to this process."""
        return torch.device(_state().device)

    def each(self, act: Callable[[], T]) -> list[T]:
        """Run `act` in each process; return all results by rank, or raise the error of any."""
        if self.num == 1:
            return [act()]
        mine = self._tried(act)
        # Where weights are parted the others may stand in the middle of a pass: only this process's
        # end frees them.
        if self.sharded:
            _unpack(mine)
        from accelerate.utils import gather_object

        _patient_group()
        outcomes = list(gather_object([mine]))
        outcomes[self.rank] = mine
        return [_unpack(outcome) for outcome in outcomes]

    def spread(self, sizes: Sequence[int], work: Callable[[np.ndarray], Columns]) -> Columns:
        """Return all rows, from what each process made of its own: `work(rows)` -> columns.

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
        """Run `act` in the main process only; every process gets its result, or its error."""
        if self.num == 1:
            return act()
        group = _patient_group()
        box = [self._tried(act) if self.rank == 0 else (None, None)]
        torch.distributed.broadcast_object_list(box, src=0, group=group)
        return _unpack(box[0])  # type: ignore[no-any-return]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum each tensor over all processes, in place, in one message."""
        if self.num == 1 or not tensors:
            return
        from accelerate.utils import reduce

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        summed = reduce(flat.to(self.device), reduction="sum")
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, torch.split(summed, sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _tried(self, act: Callable[[], Any]) -> tuple[Any, Exception | None]:
        """Run `act` for this process alone; return its result or the error, as can be sent."""
        Workers._apart = True
        try:
            return act(), None
        except Exception as error:
            return None, _sendable(error)
        finally:
            Workers._apart = False


def shard(model: Any, device: torch.device) -> None:
    """Part the linear maps' weights among all processes, in place; the rest moves to `device`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    embeddings = model.get_input_embeddings().weight
    for module in list(model.modules()):
        if isinstance(module, torch.nn.Linear) and module.weight is not embeddings:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    model.to(device)
    # What is first gathered in inference mode could never be trained through.
    with whole(model):
        pass


def shards_of(model: Any) -> list[Any]:
    """Return the modules whose weights are parted; none in a process that is alone."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


@contextlib.contextmanager
def whole(model: Any) -> Iterator[None]:
    """Hold all weights in every process within the context, which may then make any passes."""
    shards = shards_of(model)
    if shards and Workers._apart:
        raise SetupError(
            "a trunk whose weights are parted must be run by all processes alike",
            got="one that only the main process runs",
            do="launch without --use_fsdp, or give raters and helpers a model of their own",
        )
    for module in shards:
        module.unshard()
        module.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for module in shards:
            module.set_reshard_after_forward(True)
            module.reshard()


def _launched() -> bool:
    """Return whether a launcher started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


@cache
def _state() -> Any:
    """Return accelerate's view of this process, which connects it to the others."""
    from accelerate import PartialState

    # On CPUs accelerate must be told that there is nothing better.
    cpu = _is_set("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, **({"timeout": timedelta(hours=1)} if _launched() else {}))


@cache
def _patient_group() -> Any:
    """Return a group that waits for people, as long as they take."""
    _state()
    group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=30))
    atexit.register(_leave)
    return group


def _leave() -> None:
    """Leave together: a process that goes first takes down the store the others still use."""
    with contextlib.suppress(RuntimeError):
        # After an error nobody is waited for: the launcher ends the others.
        if not hasattr(sys, "last_value"):
            torch.distributed.barrier(group=_patient_group())
        torch.distributed.destroy_process_group()


def _is_set(variable: str) -> bool:
    """Return whether the launcher set a variable to true."""
    return os.environ.get(variable, "false").lower() == "true"


def _unpack(outcome: tuple[Any, Exception | None]) -> Any:
    """Return what was made, or raise the error."""
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _sendable(error: Exception) -> Exception:
    """Return the error itself where it can be pickled, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, AttributeError, ImportError, TypeError, ValueError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
