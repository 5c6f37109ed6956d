"""Write the report of one run, or of several side by side: one HTML file that needs nothing else.

The template holds the prose, this module the charts. Every string is escaped where it is shown,
and a content security policy admits no script at all, so that nothing a model wrote can run. The
same run folders always give the same bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from rich.console import Group
from rich.table import Table
from rich.text import Text

from trueline.atomic import atomic_write
from trueline.errors import SetupError
from trueline.reports import formatting
from trueline.reports.charts import Axis, ReportTable, Series, draw, numbers
from trueline.reports.formatting import NOT_MEASURED, count, estimate
from trueline.reports.headline import headline, liked_faults, remarks, run_alpha, run_names
from trueline.reports.run_records import MISSING, RoundRecord, RunRecord, bare, read_run

__all__ = ["ReportSection", "render", "round_axis", "section", "summary"]
__all__ += ["write_report"]

Named = list[tuple[RunRecord, str]]
"""Runs with the names that tell them apart."""
BASE = bare(0.0)
"""Where the base policy stands: no KL from itself, no reward above its own."""
DECISIONS = {"accept": "certified", "hold": "held", "roll_back": "rolled back", None: "no gate"}
OVER_ROUNDS: tuple[tuple[str, str, str, bool, tuple[str, float] | None], ...] = (
    ("gate", "Win rate", "gate.win_rate", True, ("even", 0.5)),
    ("reward", "Accuracy", "accuracy", True, ("a coin", 0.5)),
    ("reward", "Calibration error", "calibration.ece", True, ("perfect", 0.0)),
    ("drift", "Uncertainty", "uncertainty", False, None),
    ("drift", "Novelty", "novelty", False, ("typical of the data", 1.0)),
    ("drift", "Length", "length", False, None),
    ("answers", "Raters against gold", "rater_gold_agreement", True, ("a coin", 0.5)),
)
"""Chapter, title, field of the round, whether a share, and level of the simple charts."""


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """One chart and its numbers under a title; no chart: it was not measured."""

    title: str
    chart: Markup | None = None
    table: ReportTable | None = None


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the report of `runs`, the first being the main one; return where it was written.

    A folder as `out` gets report.html. `SetupError` on a folder that is no run.
    """
    if not runs:
        raise SetupError("a report needs at least one run folder", got="none")
    target = out / "report.html" if out.is_dir() else out
    atomic_write(target, _page([read_run(run) for run in runs]))
    return target


def summary(run: Path) -> Group:
    """Return the table that a terminal shows when a run ends, and the headline."""
    record = read_run(run)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("round", "gold", "reward", "KL, nats", "gate", "labels"):
        table.add_column(name, justify="left" if name == "gate" else "right")
    if record.gold_base.value is not None:
        table.add_row("base", estimate(record.gold_base), "", "0", "", "")
    for r in record.rounds:
        measured = [estimate(e) for e in (r.gold, r.proxy, r.kl)]
        spent = count(sum(r.labels.values())) if r.labels else NOT_MEASURED
        table.add_row(*map(Text, [str(r.round), *measured, _decision(r), spent]))
    line = headline(record)
    return Group(table, Text(""), *map(Text, filter(None, [line.sentence, line.blind_spot])))


def render(template: str, **values: Any) -> str:
    """Render a page of the house's kind; every value is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trueline.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formatting, name) for name in formatting.__all__[1:]}
    environment.filters["name"] = lambda path: Path(str(path)).name
    environment.filters["decision"] = _decision
    return environment.get_template(template).render(**values)


def section(
    title: str, series: Sequence[Series], axes: tuple[Axis, Axis], **how: Any
) -> ReportSection:
    """Chart the series that were measured, `how` as in `draw`; no chart where there is none."""
    measured = [one for one in series if any(e.value is not None for e in one.y)]
    if not measured:
        return ReportSection(title=title)
    chart, table = draw(measured, *axes, **how), numbers(title, measured, *axes)
    return ReportSection(title=title, chart=chart, table=table)


def _page(runs: Sequence[RunRecord]) -> str:
    main, names = runs[0], run_names(runs)
    each = list(zip(runs, names, strict=True))
    faults = [(name, liked_faults(run)) for run, name in each[1:]]
    return render(
        "run.html.j2",
        main=main,
        each=each,
        headlines=[(name, headline(run)) for run, name in each],
        remarks=remarks(main) + [f"Beside it ({name}): {text}" for name, text in faults if text],
        alpha=run_alpha(main),
        chapters=_chapters(each),
        repeat=_command,
    )


def _chapters(each: Named) -> dict[str, list[ReportSection]]:
    """Return the charts of each chapter of the template."""
    oracle = each[0][0].gold_oracle.value
    level = None if oracle is None else ("oracle", oracle)
    # Charts of one run each say whose they are where there are several.
    tails = [(run, f": {name}" if len(each) > 1 else "") for run, name in each]
    chapters = {
        "gold": [
            _path(each, "gold", "gold", level),
            _path(each, "reward", "proxy", None),
        ],
        "gate": [_gate(run, tail) for run, tail in tails],
        "reward": [_calibration(run, tail) for run, tail in tails],
        "drift": [],
        "best-of-n": [_best_of_n(run, tail) for run, tail in tails],
        "answers": [_kinds(run, tail) for run, tail in tails],
    }
    axis = _rounds_of([run for run, _ in each])
    for chapter, title, field, share, line in OVER_ROUNDS:
        read = attrgetter(field)
        series = [
            Series(name=name, x=[r.round for r in run.rounds], y=[read(r) for r in run.rounds])
            for run, name in each
        ]
        axes = axis, Axis(title.lower(), share=share)
        chapters[chapter].append(section(title, series, axes, level=line))
    return chapters


def _path(each: Named, name: str, field: str, level: tuple[str, float] | None) -> ReportSection:
    """Chart a number against KL, each round a disc that is filled where the gate certified it."""
    series = [
        Series(
            name=label,
            x=[BASE.value, *(r.kl.value for r in run.rounds)],
            y=[run.gold_base if field == "gold" else BASE]
            + [getattr(r, field) for r in run.rounds],
            discs=[("0", True)] + [(str(r.round), r.gate.decision == "accept") for r in run.rounds],
        )
        for run, label in each
        if any(getattr(r, field).value is not None for r in run.rounds)
    ]
    axes = Axis("KL from the base policy, nats an answer"), Axis(name)
    return section(f"{name.capitalize()} against KL", series, axes, level=level)


def _gate(run: RunRecord, tail: str) -> ReportSection:
    """Chart the evidence of each round for "better" and for "worse" against the threshold."""
    rounds, fields = [r.round for r in run.rounds], ("e_value", "e_value_worse", "threshold")
    series = [
        Series(name=name, x=rounds, y=[bare(getattr(r.gate, field)) for r in run.rounds])
        for name, field in zip(("better", "worse", "threshold"), fields, strict=True)
    ]
    axes = _rounds_of([run]), Axis("e-value", log=True)
    return section(f"Evidence at the gate{tail}", series, axes)


def _calibration(run: RunRecord, tail: str) -> ReportSection:
    """Chart predicted against observed shares of the last round that had fresh comparisons."""
    title = f"Calibration{tail}"
    last = next((r for r in run.rounds[::-1] if r.calibration.bins), None)
    if last is None:
        return ReportSection(title=title)
    bins = last.calibration.bins
    series = Series(name=title, x=[b.predicted for b in bins], y=[b.share for b in bins])
    axes = _share_axis("predicted share"), _share_axis("observed share")
    return section(title, [series], axes, diagonal=True)


def _best_of_n(run: RunRecord, tail: str) -> ReportSection:
    """Chart the gold of the best of n by each way of picking it."""
    picks = dict(run.best_of_n)
    sizes = [e.value for e in picks.pop("n", ())]
    series = [Series(name=pick, x=sizes, y=gold, band=True) for pick, gold in picks.items()]
    ticks = {n: f"{n:g}" for n in sizes if n is not None}
    axes = Axis("n", log=True, ticks=ticks), Axis("gold of the pick")
    return section(f"Gold of best-of-n{tail}", series, axes)


def _kinds(run: RunRecord, tail: str) -> ReportSection:
    """Chart the shares of answers of each kind over the rounds, the base policy as round 0."""
    x = [0, *(r.round for r in run.rounds)]
    shares = [run.breakdown_base, *(r.breakdown for r in run.rounds)]
    kinds = dict.fromkeys(kind for share in shares for kind in share)
    series = [
        Series(name=k.replace("_", " "), x=x, y=[one.get(k, MISSING) for one in shares])
        for k in kinds
    ]
    axes = _rounds_of([run]), _share_axis("share of answers")
    return section(f"Kinds of answer{tail}", series, axes)


def round_axis(last: int) -> Axis:
    """Return the axis of rounds 0 to `last`, each with its tick where there is room."""
    return Axis("round", ticks={float(i): str(i) for i in range(last + 1)} if last < 13 else None)


def _rounds_of(runs: Sequence[RunRecord]) -> Axis:
    return round_axis(max((r.round for run in runs for r in run.rounds), default=1))


def _share_axis(title: str) -> Axis:
    return Axis(title, share=True, limits=(0.0, 1.0))


def _decision(row: RoundRecord) -> str:
    return DECISIONS.get(row.gate.decision, str(row.gate.decision))


def _command(run: RunRecord, out: Path | str) -> str:
    """Return the command that repeats the run; given the same folder it goes on."""
    options = {"seed": run.config.get("seed"), "from": run.config.get("from"), "out": out}
    words = [f"--{k} {shlex.quote(str(v))}" for k, v in options.items() if v is not None]
    return " ".join(["trueline run", shlex.quote(str(run.path / "recipe.toml")), *words])
