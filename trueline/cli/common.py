"""What several verbs need: threads, trunks, where readings are cached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.worlds.sums import trunk_path

__all__ = ["cache_dir", "device_and_threads", "load_trunk", "reading_bar"]


def device_and_threads(threads: int | None) -> None:
    """Torch's threads, set on purpose: as asked, or one for each core this process may use."""
    if threads is not None and threads < 1:
        raise InputError("--threads must be at least 1", got=str(threads))
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


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
