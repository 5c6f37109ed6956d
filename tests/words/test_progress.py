"""Lines and bars of a command's stages, by a clock that the tests turn."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from trueline import progress
from trueline.progress import Stage, Telling, hush, stage, track


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def screen(*, terminal: bool = False) -> Any:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def test_a_line_every_half_minute_says_what_how_far_and_the_time_left(clock: Clock) -> None:
    console = screen()
    with Telling(console, "run", clock=clock) as telling, stage("round 1 of 2", 4) as told:
        for token in track(range(10), "reading"):
            clock.now += 6
            telling.say()
            if token == 8:
                break
        told.advance()
        telling.say()
        clock.now += 6
        telling.say()
    first, last = console.file.getvalue().splitlines()
    # After 30 s: 4 of 10 read in what then is a tenth of the whole.
    assert first == "run (30 s), round 1 of 2 (0 of 4, 4 min left), reading (4 of 10, 30 s left)"
    assert last == "run (60 s), round 1 of 2 (1 of 4, 3 min left)"


def test_the_line_comes_while_the_work_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.01)
    console = screen()
    with Telling(console, "fit"), stage("loading a model"):
        time.sleep(1.2)
        hush()
        said = console.file.getvalue()
        time.sleep(1.2)
    assert said.strip() == "fit (1 s), loading a model" and console.file.getvalue() == said


def test_a_terminal_shows_a_bar_a_stage_and_only_while_there_is_one(clock: Clock) -> None:
    console = screen(terminal=True)
    with Telling(console, "fit", clock=clock) as telling:
        assert not console.file.getvalue()
        with stage("folds", 5) as folds, stage("[odd]"):
            clock.now += 20
            folds.begin("folds of the floors", 2)
            told = telling._told()
            telling._live.refresh()
        shown = console.file.getvalue()
        assert "folds of the floors" in shown and "[odd]" in shown
    assert [far for _, far in told] == ["20 s", "2 of 5, 30 s left", ""]


def test_what_was_found_done_tells_nothing_of_the_speed(clock: Clock) -> None:
    with Telling(screen(), "judge", clock=clock) as telling, stage("cases", 48) as told:
        told.resume(24)
        clock.now += 10
        assert [far for _, far in telling._told()] == ["10 s", "24 of 48"]
        told.advance(2)
        assert telling._told()[1][1] == "26 of 48, 2 min left"


def test_without_a_command_nothing_is_said_and_errors_end_their_stages(clock: Clock) -> None:
    with stage("alone", 3) as told:
        told.advance()
    assert told == told and list(track("ab", "letters")) == ["a", "b"]
    with Telling(screen(), "judge", clock=clock) as telling:
        with pytest.raises(ZeroDivisionError), stage("a", 1), stage("b"):
            raise ZeroDivisionError
        assert [stage.what for stage, _ in telling._told()] == ["judge"]
        inner = Stage("never begun")
        telling.pop(inner)
        half = iter(track([1, 2], "left half way"))
        next(half)
        with stage("within"):
            del half
        assert [stage.what for stage, _ in telling._told()] == ["judge"]
