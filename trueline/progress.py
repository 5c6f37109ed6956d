"""Say what is being done, how far it is and how long it will still take, on standard error.

    with Telling(console, "fit"):                        # a command; without one nothing is said
        with stage("reading tokens", 4_000) as at:
            at.advance(250)
        for batch in track(batches, "gradient steps"):
            ...

On a terminal a bar for each stage that is under way, one within another; elsewhere a line every
30 s, said by a thread of its own, so that it comes whatever the work is doing:

    run (9 min), round 1 of 4: improve (3 of 24, 40 min left), gradient steps (7 of 40, 2 min left)

The time left assumes that what is still to be done goes as fast as what was done.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["Stage", "Telling", "hush", "position", "stage", "tell", "tell_left_out", "track"]

T = TypeVar("T")
_EVERY_S = 30.0


@dataclass(eq=False)
class Stage:
    """Something that takes time: `done` of `total` (None: nobody knows of how much)."""

    what: str
    total: int | None = None
    done: int = 0
    clock: Callable[[], float] = time.monotonic
    found: int = 0
    """How much was done when it began: what a stopped command left."""

    def __post_init__(self) -> None:
        self.began = self.moved = self.clock()

    def resume(self, done: int) -> None:
        """Say that so much was found done: it tells nothing of the speed."""
        self.done = self.found = done

    def advance(self, num: int = 1) -> None:
        """Say that so much more is done."""
        self.begin(self.what, self.done + num)

    def begin(self, what: str, done: int) -> None:
        """Say what is done next, after `done` of all."""
        self.what, self.done, self.moved = what, done, self.clock()


class Telling:
    """Tells a command's stages within its `with` block; `clock` gives seconds."""

    def __init__(
        self, console: Console, what: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self.clock = console, clock
        self._stages = [Stage(what, clock=clock)]
        self._said = clock()
        self._over = threading.Event()
        self._live: Any = None

    def __enter__(self) -> Telling:
        self._before = _TELLING.set(self)
        if not (self._console.is_terminal or self._console.quiet):
            threading.Thread(target=self._speak, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hush()
        _TELLING.reset(self._before)

    def hush(self) -> None:
        """Say nothing any more."""
        self._over.set()
        self._show(False)

    @property
    def position(self) -> str:
        """Which one of how many the innermost stage is at: "2 of 6"; nothing if nobody knows."""
        at = self._stages[-1]
        return f"{at.done + 1:,} of {at.total:,}" if at.total else ""

    def push(self, stage: Stage) -> None:
        """Begin a stage within the one under way."""
        self._stages.append(stage)
        self._show(self._console.is_terminal and not self._over.is_set())

    def pop(self, stage: Stage) -> None:
        """End a stage, and whatever was begun within it."""
        if stage in self._stages:
            del self._stages[self._stages.index(stage) :]
        self._show(self._live is not None and len(self._stages) > 1)

    def say(self, text: str = "") -> None:
        """Print a line: the text, or if the last one is 30 s old how far everything is."""
        if not text and self.clock() - self._said >= _EVERY_S:
            self._said = self.clock()
            text = ", ".join(f"{stage.what}{far and f' ({far})'}" for stage, far in self._told())
        if text:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speak(self) -> None:
        while not self._over.wait(1.0):
            self.say()

    def _told(self) -> list[tuple[Stage, str]]:
        """Return the stages under way, outermost first, with how far each is in words."""
        rows: list[tuple[Stage, str]] = []
        inner, moved, now = 0.0, 0.0, self.clock()
        for stage in reversed(list(self._stages)):
            far, frac = "", 0.0
            # What was done last tells the speed: work that comes in large parts has not stopped.
            moved = max(moved, stage.moved)
            if stage.total:
                frac = min(1.0, (stage.done + inner) / stage.total)
                far = f"{stage.done:,} of {stage.total:,}"
            if stage.total and (new := frac - stage.found / stage.total) > 0:
                left = (moved - stage.began) * (1 - frac) / new - (now - moved)
                far = f"{far}, {_duration(max(0.0, left))} left"
            rows.append((stage, far))
            inner = frac
        rows[-1] = rows[-1][0], _duration(now - self._stages[0].began)
        return rows[::-1]

    def _show(self, shown: bool) -> None:
        """Put up the bars, or take them down."""
        if shown and self._live is None:
            from rich.live import Live

            # What is printed meanwhile goes above the bars, but never from a file to a terminal.
            self._live = Live(
                get_renderable=self._bars,
                console=self._console,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        elif not shown and self._live is not None:
            self._live.stop()
            self._live = None

    def _bars(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        for stage, far in self._told()[1:]:
            bar = ProgressBar(stage.total, stage.done, width=30, pulse=not stage.total)
            table.add_row(Text(stage.what), bar, Text(far))
        return table


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


_TELLING: ContextVar[Telling | None] = ContextVar("telling", default=None)


@contextlib.contextmanager
def stage(what: str, total: int | None = None) -> Iterator[Stage]:
    """Tell of the block as a stage; it says itself how far it is."""
    telling = _TELLING.get()
    here = Stage(what, total, clock=telling.clock if telling else time.monotonic)
    if telling is not None:
        telling.push(here)
    try:
        yield here
    finally:
        if telling is not None:
            telling.pop(here)


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items, and tell how many have been dealt with."""
    with stage(what, len(items)) as at:
        for item in items:
            yield item
            at.advance()


def tell(text: str) -> None:
    """Say one line at once, also where a person is being asked."""
    if (telling := _TELLING.get()) is not None:
        telling.say(text)


def position() -> str:
    """Return `Telling.position` of the command under way."""
    telling = _TELLING.get()
    return telling.position if telling else ""


def hush() -> None:
    """Say nothing any more: a person is being asked, or a server is up."""
    if (telling := _TELLING.get()) is not None:
        telling.hush()


def tell_left_out(console: Console, path: Path, counts: Mapping[str, int]) -> None:
    """Print what of a file was left out, by reason."""
    told = ", ".join(f"{count} {why}" for why, count in counts.items() if count)
    if told:
        console.print(f"left out of {path.name}: {told}", markup=False)
