"""Where a run is and how long it will still take, on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["ACTS", "Bar", "Reporter", "Silent"]

ACTS = ("sample", "ask", "fit", "improve", "certify", "evaluate")


class Reporter(Protocol):
    """Is told which act of which round begins."""

    def act(self, round: int, name: str) -> None: ...


class Silent:
    """Says nothing."""

    def act(self, round: int, name: str) -> None:
        return


class Bar:
    """A rich progress bar; the time left is that of the acts done so far, of their own kind."""

    def __init__(self, rounds: int, *, console: Console | None = None) -> None:
        self.rounds = rounds
        self._taken: dict[str, list[float]] = {}
        self._now: tuple[str, float] | None = None
        self._bar = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console or Console(stderr=True),
        )
        self._task = self._bar.add_task("starting", total=rounds * len(ACTS) + 1, left="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def act(self, round: int, name: str) -> None:
        now = time.monotonic()
        if self._now is not None:
            self._taken.setdefault(self._now[0], []).append(now - self._now[1])
        self._now = (name, now)
        done = (round - 1) * len(ACTS) + ACTS.index(name) if name in ACTS else self._total()
        self._bar.update(
            self._task,
            completed=done,
            description=f"round {round} of {self.rounds}: {name}" if name in ACTS else name,
            left=self._left(round, name),
        )

    def _total(self) -> int:
        return self.rounds * len(ACTS)

    def _left(self, round: int, name: str) -> str:
        known = {act: sum(times) / len(times) for act, times in self._taken.items()}
        if name not in ACTS or not all(act in known for act in ACTS):
            return ""
        rest = sum(known[act] for act in ACTS[ACTS.index(name) :])
        seconds = rest + (self.rounds - round) * sum(known[act] for act in ACTS)
        return (
            f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"
        )
