"""What several verbs share: the place they run in, threads, the reading cache."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import tyro
from rich.console import Console
from threadpoolctl import threadpool_limits

from trueline.errors import InputError
from trueline.recipes.session import Session

__all__ = ["Place", "Verb", "cache_dir", "set_threads"]


@dataclass(frozen=True, kw_only=True)
class Verb(ABC):
    """A parsed command."""

    goes_on: ClassVar[str] = "the same command begins anew"
    """What is told to whoever stops it."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on standard output and nothing else there."""

    @abstractmethod
    def execute(self, console: Console) -> dict[str, Any]:
        """Do it; return what --json prints."""


@dataclass(frozen=True, kw_only=True)
class Place(Verb):
    """Where a verb that opens models runs."""

    seed: int = 0
    """All randomness comes from it."""
    device: str = "cpu"
    """Where models run: cpu, cuda, … or auto: the one that accelerate gives each process."""
    dtype: str | None = None
    """Number type of weights: float32, bfloat16, float16, or auto: the checkpoint's own where the
    device multiplies it fast. Not given: as the recipe or the reward says, else float32."""
    threads: int = 1
    """Torch threads; more than one pays only on cores that nobody else uses."""

    def session(self, console: Console, **options: Any) -> Session:
        """Set the threads, and return what the parts of this command share."""
        set_threads(self.threads)
        where = {"device": self.device, "dtype": self.dtype, "console": console}
        return Session(**{"seed": self.seed, **where, **options})


def set_threads(threads: int) -> None:
    """Give torch so many threads, and one to the linear algebra of NumPy and SciPy.

    Two pools that wait by spinning starve each other: with one other process on two cores, two
    threads were measured 20 to 40 times slower than one (docs/log.md).
    """
    if threads < 1:
        raise InputError("--threads must be at least 1", got=str(threads))
    torch.set_num_threads(threads)
    threadpool_limits(limits=1, user_api="blas")


def cache_dir() -> Path:
    """Return where readings are kept between commands: $TRUELINE_CACHE, else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TRUELINE_CACHE") or Path(base) / "trueline")
