"""Where a run is and how long it will still take, on standard error."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["STEPS", "Bar"]

STEPS = ("sample", "ask", "fit", "improve", "certify", "evaluate")


class Bar:
    """A bar on a terminal, plain lines elsewhere, both with the time left; without a console it
    says nothing."""

    def __init__(self, rounds: int, *, console: Console | None = None) -> None:
        self.rounds = rounds
        self._console = console or Console(quiet=True)
        columns = TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn()
        # Steps take minutes: the speed is that of the whole run, not of the last half minute.
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=self._console, speed_estimate_period=math.inf
        )
        self._task = self._bar.add_task("starting", total=rounds * len(STEPS))

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def step(self, round: int, name: str) -> None:
        """Begin a step, or "conclude" after the last round."""
        known = name in STEPS
        text = f"round {round} of {self.rounds}: {name}" if known else name
        done = (round - 1) * len(STEPS) + (STEPS.index(name) if known else len(STEPS))
        self._bar.update(self._task, completed=done, description=text)
        left = self._bar.tasks[0].time_remaining
        if not self._console.is_terminal:
            self._console.print(text if left is None else f"{text}, about {left:.0f} s left")
