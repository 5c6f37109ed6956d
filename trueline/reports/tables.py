"""Tables: the same numbers as the plots, in words, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from trueline.records import Estimate
from trueline.reports.folder import Round, Run, read_run
from trueline.reports.parse import mapping
from trueline.reports.plots import DECISIONS
from trueline.reports.typeset import (
    NOT_MEASURED,
    count,
    duration,
    e_value,
    estimate,
    num,
    percent,
    plain,
)
from trueline.reports.words import labels, verdict

__all__ = [
    "Table",
    "by_round",
    "calibration",
    "curve",
    "decision",
    "facts",
    "gate",
    "labels_spent",
    "side_by_side",
    "summary",
    "win_rate",
]

Column = tuple[str, Callable[[Round], str]]
STOPS = {
    "novelty": "novelty",
    "kl": "KL budget",
    "entropy": "entropy floor",
    "unscored": "no scores",
    "alike": "equal scores",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words in rows; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def by_round(runs: Sequence[Run], caption: str, columns: Sequence[Column]) -> Table:
    """One row a round, for several runs with the run's name in a column of its own."""
    several = len(runs) > 1
    rows = tuple(
        (str(r.index), *([name] if several else []), *(read(r) for _, read in columns))
        for run, name in zip(runs, labels(runs), strict=True)
        for r in run.rounds
    )
    names = tuple(name for name, _ in columns)
    return Table(caption=caption, head=("Round", *(["Run"] if several else []), *names), rows=rows)


def measured(name: str, field: str, *, share: bool = False, decimals: int = 2) -> Column:
    """A column that reads one estimate of each round."""

    def read(row: Round) -> str:
        value: Estimate = getattr(row, field)
        return estimate(value, share=share, decimals=decimals)

    return name, read


def gate(runs: Sequence[Run]) -> Table:
    """What the gate found and decided."""
    columns: list[Column] = [
        ("Decision", lambda r: decision(r)),
        ("E-value, better", lambda r: e_value(r.gate.e_value)),
        ("E-value, worse", lambda r: e_value(r.gate.e_value_worse)),
        ("Threshold", lambda r: e_value(r.gate.threshold)),
        ("Labels", lambda r: count(r.gate.labels)),
    ]
    return by_round(runs, "What the gate found, round by round", columns)


def win_rate(runs: Sequence[Run]) -> Table:
    """Who was preferred at the gate, who would be if no answer were longer, and what kept the new
    policy from going further."""
    columns: list[Column] = [("Win rate", lambda r: estimate(r.gate.win_rate, share=True))]
    rounds = [r for run in runs for r in run.rounds]
    if any(r.gate.even.value is not None for r in rounds):
        columns.append(("At equal length", lambda r: estimate(r.gate.even, share=True)))
    if any(r.stopped is not None for r in rounds):
        columns.append(("Held back by", lambda r: STOPS.get(str(r.stopped), "–")))
    return by_round(runs, "Win rate at the gate", columns)


def decision(row: Round) -> str:
    """The gate's decision in words."""
    if row.gate.decision is None:
        return "no gate"
    return DECISIONS.get(row.gate.decision, row.gate.decision)


def calibration(run: Run) -> Table:
    """The bins of every round's reliability diagram."""
    rows = tuple(
        (
            str(r.index),
            percent(b.predicted),
            estimate(Estimate(b.observed, b.lower, b.upper, b.n), share=True),
            count(b.n),
        )
        for r in run.rounds
        for b in r.bins
    )
    head = ("Round", "Predicted", "Observed", "Comparisons")
    return Table(caption="Predicted and observed shares", head=head, rows=rows)


def labels_spent(runs: Sequence[Run], names: Mapping[str, str]) -> Table:
    """Labels of every round, by purpose."""

    def column(purpose: str, name: str) -> Column:
        return name.capitalize(), lambda r: count(r.labels.get(purpose))

    columns = [column(purpose, name) for purpose, name in names.items()]
    return by_round(runs, "Labels spent, round by round", columns)


def curve(run: Run) -> Table:
    """Gold of best-of-n, one row an n."""
    names = list(run.curves)
    rows = tuple(
        (
            count(n),
            *(estimate(values[i]) if i < len(values) else NOT_MEASURED for values in columns),
        )
        for columns in [[run.curves[name] for name in names]]
        for i, n in enumerate(run.curve_n)
    )
    return Table(caption="Gold of best-of-n", head=("n", *map(str.capitalize, names)), rows=rows)


def side_by_side(runs: Sequence[Run]) -> Table:
    """One row a run: where it began, where it ended, what it cost."""
    rows = tuple(
        (
            name,
            num(run.gold_base.value),
            estimate(run.gold_final),
            estimate(run.gain_share, share=True),
            f"{run.accepted} of {len(run.rounds)}",
            estimate(run.rounds[-1].kl) if run.rounds else NOT_MEASURED,
            count(run.labels_used),
            duration(run.wall_s),
        )
        for run, name in zip(runs, labels(runs), strict=True)
    )
    head = ("Run", "Gold before", "Gold after", "Share of oracle's gain", "Rounds certified")
    return Table(
        caption="The runs side by side",
        head=(*head, "KL at the end, nats", "Labels", "Time"),
        rows=rows,
    )


def facts(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A configuration as rows of name and value, nested names joined by dots."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if mapping(value):
            rows += facts(mapping(value), f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", plain(value)))
    return rows


def summary(run: Path) -> Group:
    """The table that a terminal shows when a run ends: what each round reached, and the verdict."""
    folder = read_run(run)
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    table.add_column("round", justify="right")
    for name in ("gold", "reward", "KL, nats"):
        table.add_column(name, justify="right")
    table.add_column("gate")
    table.add_column("labels", justify="right")
    if folder.gold_base.value is not None:
        table.add_row("base", estimate(folder.gold_base), "", "0", "", "")
    for r in folder.rounds:
        spent = count(sum(r.labels.values())) if r.labels else NOT_MEASURED
        cells = (str(r.index), *(estimate(e) for e in (r.gold, r.proxy, r.kl)), decision(r), spent)
        table.add_row(*map(Text, cells))
    said = verdict(folder)
    lines = [Text(said.sentence)] + ([Text(said.blind_spot)] if said.blind_spot else [])
    return Group(table, Text(""), *lines)
