"""What several verbs need: threads, trunks, where readings are cached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.worlds.sums import trunk_path

__all__ = ["cache_dir", "load_trunk", "reading_bar", "set_threads"]


def set_threads(threads: int) -> None:
    """So many threads for torch, one for the linear algebra of NumPy and SciPy.

    Two pools that wait by spinning starve each other: with one other process on two cores, two
    threads were measured 20 to 40 times slower than one (docs/log.md).
    """
    if threads < 1:
        raise InputError("--threads must be at least 1", got=str(threads))
    torch.set_num_threads(threads)
    threadpool_limits(limits=1, user_api="blas")


def load_trunk(model: str | None, *, device: str, cache: Path | None = None) -> Trunk:
    """The trunk asked for; the embedded model if none is named."""
    if device != "cpu" and not torch.cuda.is_available() and device.startswith("cuda"):
        raise SetupError("the device must exist on this machine", got=device, do="use --device cpu")
    return Trunk.load(str(trunk_path()) if model is None else model, device=device, cache_dir=cache)


def cache_dir() -> Path:
    """Where readings are kept between commands: $TRUELINE_CACHE, else the user's cache folder."""
    named = os.environ.get("TRUELINE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trueline"


@contextmanager
def reading_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; the callback is told (done, total)."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
