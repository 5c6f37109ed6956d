"""Wall and processor seconds, tokens and memory of steps, taken alike in both arms of a comparison.

    step i = from mark i - 1 to mark i;   update = step - (the phases inside it)

Peak memory is the kernel's high-water mark of this process's own pages (VmHWM, which a new program
starts afresh); on a GPU it is the most that torch had allocated there.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["PHASES", "Clock", "memory_mb"]

PHASES = ("sampling", "reward", "reference")


class Clock:
    """What a process spent on what."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.phases: Counter[str] = Counter()
        self.tokens = 0
        self.marks: list[dict[str, float]] = []

    def mark(self) -> None:
        """A step ends here, and the next begins."""
        now = {"wall_s": self._now(), "cpu_s": time.process_time(), "tokens": float(self.tokens)}
        self.marks.append({**now, **{name: self.phases[name] for name in PHASES}})

    def timed(self, act: Callable[[], Any]) -> dict[str, float]:
        """Seconds of one act."""
        wall, cpu = self._now(), time.process_time()
        act()
        return {"wall_s": self._now() - wall, "cpu_s": time.process_time() - cpu}

    def wrap(self, owner: Any, method: str, name: str | Callable[..., str]) -> None:
        """Book the seconds of a method of an object or class under a phase."""
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            start = self._now()
            result = inner(*args, **kwargs)
            self.phases[name if isinstance(name, str) else name()] += self._now() - start
            return result

        setattr(owner, method, outer)

    def steps(self, *, warm: int = 0) -> list[dict[str, float]]:
        """All steps but the first `warm`; the seconds left over in one are the update's."""
        rows = []
        for before, after in zip(self.marks[warm:], self.marks[warm + 1 :], strict=False):
            row = {name: after[name] - before[name] for name in after}
            rows.append({**row, "update": row["wall_s"] - sum(row[name] for name in PHASES)})
        return rows

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def memory_mb(device: str = "cpu") -> dict[str, float]:
    """Pages in use now and at most so far, in MB; on a GPU what torch has allocated there."""
    if device == "cuda":
        now, most = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        return {"now": now / 2**20, "peak": most / 2**20}
    lines = Path("/proc/self/status").read_text().splitlines()
    pages = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return {"now": int(pages["VmRSS"]) / 1024, "peak": int(pages["VmHWM"]) / 1024}
