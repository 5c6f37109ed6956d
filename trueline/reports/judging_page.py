"""Write the page of a folder of verdicts: how right, how sure, at what cost, and what was said.

Speeches are data: the template escapes them, and marks a quote by whether the source has it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from trueline.atomic import atomic_write
from trueline.errors import SetupError
from trueline.records import Estimate, Turn, Verdict
from trueline.reports.charts import Axis, ReportSection, Series, section
from trueline.reports.formatting import count, estimate, number
from trueline.reports.run_page import render, round_axis
from trueline.reports.run_records import MISSING, BinRecord, Measured, Record, parse
from trueline.runs import RunFolder

__all__ = ["quoted", "write_judging"]

_MARK = "/?(?:[uv]_)?quote>"
_QUOTE = re.compile(rf"<(?:[uv]_)?quote>([^<]*+(?:<(?!{_MARK})[^<]*+)*+)</(?:[uv]_)?quote>")
_MARKS = {True: "now", False: "was", None: "quoted"}


class ArmRecord(Record):
    """All cases judged in one way: means with intervals."""

    n: int
    warning: str | None = None
    """What comes before all numbers."""
    accuracy: Measured = MISSING
    shown_first: Measured = MISSING
    same_answer: Measured = MISSING
    undecided: Measured = MISSING
    calibration_error: Measured = MISSING
    brier: Measured = MISSING
    calls: Measured = MISSING
    tokens: Measured = MISSING
    judge_s: Measured = MISSING
    problems: int = 0
    """Speeches of helpers that could not be used."""
    failed: dict[str, int] = Field(default_factory=dict)
    curve: tuple[Measured, ...] = ()
    """Mean belief in the better answer after 0, 1, ... rounds, over all cases."""
    bins: tuple[BinRecord, ...] = ()


class TranscriptRecord(Record):
    """One judged case in full."""

    protocol: str
    question: str
    answers: tuple[str, str]
    verdict: Verdict
    correct: int | None = None

    @property
    def as_shown(self) -> TranscriptRecord:
        """The same as the judge saw it: the answer shown first is A."""
        if not self.verdict.shown_first:
            return self
        correct = None if self.correct is None else 1 - self.correct
        changes = {"answers": self.answers[::-1], "correct": correct}
        return self.model_copy(update={**changes, "verdict": self.verdict.mirrored})


class JudgingRecord(Record):
    """A finished folder of `trueline judge`."""

    path: Path
    config: dict[str, Any]
    arms: dict[str, ArmRecord] = Field(min_length=1)
    contrasts: dict[str, Measured] = Field(default_factory=dict)
    samples: tuple[TranscriptRecord, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the judge's seconds are reckoned for people who are not there."""
        return any('[judge]\nkind = "simulated"' in str(value) for value in self.config.values())


def write_judging(folder: Path) -> Path:
    """Write report.html beside the result.json of a folder of verdicts; return its path."""
    view = RunFolder.view(folder)
    if view.result is None:
        raise SetupError(
            "judging must be over to be shown",
            got=f"no result.json in {folder}",
            do="give the command that began it again: it goes on",
        )
    judging = parse(JudgingRecord, view)
    page = render(
        "judging.html.j2",
        judging=judging,
        sentences=_sentences(judging),
        sections=[one for one in (_beliefs(judging), _calibration(judging)) if one.chart],
        quoted=quoted,
    )
    atomic_write(folder / "report.html", page)
    return folder / "report.html"


def quoted(turn: Turn) -> list[tuple[str, str]]:
    """Cut a speech at its quotes; each piece with its mark: now, was, quoted, or none."""
    found = {quote.text.strip(): quote.found for quote in turn.quotes}
    return [
        (part, _MARKS[found.get(part.strip())] if i % 2 else "")
        for i, part in enumerate(_QUOTE.split(turn.text))
        if part
    ]


def _sentences(judging: JudgingRecord) -> list[str]:
    """Say how the arms compare, each with its interval, or how right the only one is."""
    warned = [f"{name}: {arm.warning}." for name, arm in judging.arms.items() if arm.warning]
    of_warned = {name for name, arm in judging.arms.items() if arm.warning}
    texts = [
        _contrast(name, e)
        for name, e in judging.contrasts.items()
        if not of_warned & {*name.split(" - ")}
    ]
    if texts or warned:
        return [*warned, *texts]
    name, arm = next(iter(judging.arms.items()))
    if arm.accuracy.value is None:
        return [f"{count(arm.n)} cases judged by {name}; the truth of none is known."]
    right = estimate(arm.accuracy, share=True)
    return [f"{name}: right in {right} of {count(arm.accuracy.n)} decided cases."]


def _contrast(name: str, e: Estimate) -> str:
    """Say how much more often one arm was right than another; `name` is "one - other"."""
    if e.value is None or e.lower is None or e.upper is None:
        return f"{name}: {number(e.value)}, without an interval."
    verdict = "ahead" if e.lower > 0 else "behind" if e.upper < 0 else "too few cases to tell"
    points = estimate(Estimate(100 * e.value, 100 * e.lower, 100 * e.upper, e.n), decimals=0)
    names = name.replace(" - ", " against ")
    return f"{names}: {points} points of accuracy, {count(e.n)} cases: {verdict}."


def _beliefs(judging: JudgingRecord) -> ReportSection:
    """Chart the belief in the better answer over the rounds, where there was more than one."""
    curves = {name: arm.curve for name, arm in judging.arms.items()}
    last = max(map(len, curves.values())) - 1
    series = [Series(name=name, x=range(len(y)), y=y) for name, y in curves.items() if last > 0]
    y = Axis("belief in the better answer", share=True)
    title = "Belief in the better answer, by round"
    return section(title, series, round_axis(last), y, level=("a coin", 0.5))


def _calibration(judging: JudgingRecord) -> ReportSection:
    series = [
        Series(name=name, x=[b.predicted for b in arm.bins], y=[b.share for b in arm.bins])
        for name, arm in judging.arms.items()
    ]
    x = Axis("confidence in the answer preferred", share=True, limits=(0.48, 1.02))
    y = Axis("share right", share=True, limits=(0.0, 1.0))
    return section("Is the judge as right as sure?", series, x, y, diagonal=True)
