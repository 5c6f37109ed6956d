"""Where a run is and how long it will still take, on standard error."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["STEPS", "Bar", "Reporter", "Silent"]

STEPS = ("sample", "ask", "fit", "improve", "certify", "evaluate")


class Reporter(Protocol):
    """Is told which step of which round begins."""

    def step(self, round: int, name: str) -> None: ...


class Silent:
    """Report nothing."""

    def step(self, round: int, name: str) -> None:
        return


class Bar:
    """A bar on a terminal, plain lines elsewhere, with the time left once a round was done."""

    def __init__(self, rounds: int, *, console: Console | None = None) -> None:
        self.rounds = rounds
        self._console = console or Console(stderr=True)
        self._took: dict[str, list[float]] = defaultdict(list)
        self._now: tuple[str, float] | None = None
        columns = TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn()
        self._bar = Progress(*columns, TextColumn("{task.fields[left]}"), console=self._console)
        self._task = self._bar.add_task("starting", total=rounds * len(STEPS), left="")

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def step(self, round: int, name: str) -> None:
        """Begin a step, or "conclude" after the last round."""
        now = time.monotonic()
        if self._now is not None:
            self._took[self._now[0]].append(now - self._now[1])
        self._now = name, now
        known = name in STEPS
        text = f"round {round} of {self.rounds}: {name}" if known else name
        at = STEPS.index(name) if known else len(STEPS)
        left = self._left(round, at)
        done = (round - 1) * len(STEPS) + at
        self._bar.update(self._task, completed=done, description=text, left=left)
        if not self._console.is_terminal:
            self._console.print(f"{text}  {left}".rstrip())

    def _left(self, round: int, at: int) -> str:
        if not all(self._took[name] for name in STEPS):
            return ""
        each = [sum(self._took[name]) / len(self._took[name]) for name in STEPS]
        seconds = sum(each[at:]) + (self.rounds - round) * sum(each)
        number, unit = (seconds, "s") if seconds < 120 else (seconds / 60, "min")
        return f"about {number:.0f} {unit} left"
