"""The panels of a report: each a plot, its caption, and the same numbers as a table.

What a run did not measure becomes a panel that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from trueline.records import Estimate
from trueline.reports import plots, tables
from trueline.reports.canvas import Series
from trueline.reports.folder import Round, Run
from trueline.reports.palette import BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION
from trueline.reports.parse import MISSING
from trueline.reports.tables import Table, by_round, measured
from trueline.reports.typeset import count, estimate, num, percent
from trueline.reports.words import ORACLE, labels

__all__ = [
    "PURPOSES",
    "Panel",
    "accuracy",
    "agreement",
    "breakdowns",
    "calibration_error",
    "calibrations",
    "curves",
    "doubt",
    "gates",
    "gold",
    "length",
    "novelty",
    "proxy",
    "spent",
    "win_rate",
]

PURPOSES = {
    "learn": "to learn from",
    "gate": "for the gate",
    "control": "to try out help",
    "helpers": "to raise helpers",
}
ZERO = Estimate(0.0, None, None, 0)
"""Where the base model stands: no KL from itself, no reward above its own."""
KINDS = {
    "right": ("right", GREEN),
    "sure_wrong": ("sure and wrong", VERMILLION),
    "flattery": ("flattery", ORANGE),
    "unfounded_claim": ("unfounded claim", PURPLE),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure with its caption and the same numbers as a table; no figure: not measured."""

    title: str
    caption: str = ""
    figure: go.Figure | None = None
    table: Table | None = None


def gold(runs: Sequence[Run]) -> Panel:
    columns = [measured("KL, nats", "kl"), measured("Gold", "gold")]
    oracle = runs[0].gold_oracle.value
    level = (f"{ORACLE.removeprefix('the ')} {num(oracle)}", oracle) if oracle is not None else None
    return _path(
        runs,
        ("Gold against KL", "gold"),
        lambda r: r.gold,
        columns,
        level=None if level is None else (level[0], float(level[1])),
    )


def proxy(runs: Sequence[Run]) -> Panel:
    columns = [
        measured("KL, nats", "kl"),
        measured("Reward", "proxy"),
        measured("Lower bound", "proxy_lower"),
    ]
    return _path(runs, ("Reward against KL", "reward above the base's"), lambda r: r.proxy, columns)


def _path(
    runs: Sequence[Run],
    titles: tuple[str, str],
    read: Callable[[Round], Estimate],
    columns: Sequence[tables.Column],
    *,
    level: tuple[str, float] | None = None,
) -> Panel:
    title, y_title = titles
    if not any(read(r).value is not None for run in runs for r in run.rounds):
        return _missing(title)
    by_kl = any(r.kl.value is not None for run in runs for r in run.rounds)
    series, marks, spread = [], [], []
    for look, (run, name) in enumerate(zip(runs, labels(runs), strict=True)):
        kl = [r.kl if by_kl else Estimate(r.index, None, None, 0) for r in run.rounds]
        y, mark = (
            [read(r) for r in run.rounds],
            [(str(r.index), r.gate.decision) for r in run.rounds],
        )
        start = run.gold_base if y_title == "gold" else ZERO
        if start.value is not None:
            kl, y = [ZERO, *kl], [start, *y]
            mark = [("0", "base"), *mark]
        series.append(Series(name=name, x=[_gap(e) for e in kl], y=y, look=look))
        marks.append(mark)
        spread.append(kl)
    figure = plots.path(
        series,
        marks,
        x_spread=spread,
        x_title="KL from the base model, nats per answer" if by_kl else "round (KL not measured)",
        y_title=y_title,
        level=level,
    )
    caption = (
        "Each disc is a round, by its number; 0 is the base model. Filled: certified by the gate. "
        "Hollow: held; a hollow square: rolled back. Bars are 95 % intervals."
    )
    return Panel(title=title, caption=caption, figure=figure, table=by_round(runs, title, columns))


def gates(runs: Sequence[Run]) -> list[Panel]:
    held = [(run, n) for run, n in zip(runs, labels(runs), strict=True) if _has_gate(run)]
    if not held:
        return [_missing("Evidence at the gate")]
    span = plots.gate_range([run for run, _ in held])
    return [
        Panel(
            title=_titled("Evidence at the gate", name, runs),
            caption="Evidence on a logarithmic scale. A round is certified (✓) when the disc "
            "reaches the dashed threshold, rolled back (✗) when the triangle does, or else "
            "held (–).",
            figure=plots.gate(run, span),
            table=tables.gate([run]),
        )
        for run, name in held
    ]


def win_rate(runs: Sequence[Run]) -> Panel:
    panel = _over_rounds(
        runs,
        "Win rate at the gate",
        lambda r: r.gate.win_rate,
        caption="Share of the gate's comparisons that the new policy won, draws counted as half, "
        "with the interval that holds at any stopping time.",
        y_title="win rate",
        level=("even", 0.5),
        share=True,
    )
    return panel if panel.table is None else replace(panel, table=tables.win_rate(runs))


def calibrations(runs: Sequence[Run]) -> list[Panel]:
    panels = []
    for run, name in zip(runs, labels(runs), strict=True):
        measured_rounds = [r for r in run.rounds if r.bins]
        if not measured_rounds:
            continue
        *past, last = measured_rounds
        panels.append(
            Panel(
                title=_titled("Calibration", name, runs),
                caption=f"Predictions for fresh comparisons, grouped by confidence; round "
                f"{last.index} with 95 % intervals. Mean gap (ECE) {percent(last.ece.value)}.",
                figure=plots.calibration([r.bins for r in past], last.bins, f"round {last.index}"),
                table=tables.calibration(run),
            )
        )
    return panels or [_missing("Calibration")]


def accuracy(runs: Sequence[Run]) -> Panel:
    return _over_rounds(
        runs,
        "Accuracy on fresh comparisons",
        lambda r: r.accuracy,
        caption="Share of a round's comparisons in which the reward, before learning from them, "
        "sided with the rater.",
        y_title="accuracy",
        level=("a coin", 0.5),
        share=True,
    )


def calibration_error(runs: Sequence[Run]) -> Panel:
    return _over_rounds(
        runs,
        "Calibration error",
        lambda r: r.ece,
        caption="Mean distance between stated confidence and observed share; 0 is perfect.",
        y_title="calibration error (ECE)",
        share=True,
        from_zero=True,
    )


def doubt(runs: Sequence[Run]) -> Panel:
    caption = "Mean posterior standard deviation of the reward over the round's answers."
    return _over_rounds(
        runs,
        "Doubt",
        lambda r: r.doubt,
        caption=caption,
        y_title="standard deviation",
        from_zero=True,
    )


def novelty(runs: Sequence[Run]) -> Panel:
    caption = "Mean distance of the answers from the data the reward was fitted on."
    return _over_rounds(
        runs,
        "Novelty",
        lambda r: r.novelty,
        caption=caption,
        y_title="distance",
        level=("typical of the data", 1.0),
    )


def length(runs: Sequence[Run]) -> Panel:
    caption = "Mean tokens per answer."
    return _over_rounds(runs, "Length", lambda r: r.length, caption=caption, y_title="tokens")


def agreement(runs: Sequence[Run]) -> Panel:
    return _over_rounds(
        runs,
        "Raters against gold",
        lambda r: r.agreement,
        caption="Share of a round's labels that prefer the answer which gold prefers. Below one "
        "half the raters mislead whatever learns from them. Pairs of equal gold are left out.",
        y_title="agreement",
        level=("a coin", 0.5),
        share=True,
    )


def _over_rounds(
    runs: Sequence[Run],
    title: str,
    read: Callable[[Round], Estimate],
    *,
    caption: str,
    y_title: str,
    share: bool = False,
    **axis: Any,
) -> Panel:
    """One measured thing over the rounds, all runs in one figure; `axis` as in `plots.rounds`."""
    series = [
        Series(
            name=name,
            x=[r.index for r in run.rounds],
            y=[read(r) for r in run.rounds],
            look=look,
            share=share,
        )
        for look, (run, name) in enumerate(zip(runs, labels(runs), strict=True))
        if any(read(r).value is not None for r in run.rounds)
    ]
    if not series:
        return _missing(title)

    def words(row: Round) -> str:
        return estimate(read(row), share=share)

    return Panel(
        title=title,
        caption=caption,
        figure=plots.rounds(series, y_title=y_title, share=share, **axis),
        table=by_round(runs, title, [(title, words)]),
    )


def spent(runs: Sequence[Run]) -> list[Panel]:
    known = [(run, n) for run, n in zip(runs, labels(runs), strict=True) if _spends(run)]
    if not known:
        return [_missing("Labels per round")]
    found = dict.fromkeys(p for run, _ in known for r in run.rounds for p in r.labels)
    names = {p: PURPOSES.get(p, p.replace("_", " ")) for p in found}
    top = max(sum(r.labels.values()) for run, _ in known for r in run.rounds)
    return [
        Panel(
            title=_titled("Labels per round", name, runs),
            caption=f"{count(run.labels_used)} labels in all: "
            + ", ".join(f"{count(n)} {names.get(p, p)}" for p, n in run.labels.items())
            + ".",
            figure=plots.bars(run, names, top),
            table=tables.labels_spent([run], names),
        )
        for run, name in known
    ]


def curves(runs: Sequence[Run]) -> list[Panel]:
    looks = {"oracle": (2, MUTED), "plain": (1, VERMILLION), "conservative": (0, BLUE)}
    panels = []
    for run, name in zip(runs, labels(runs), strict=True):
        if not run.curves or not run.curve_n:
            continue
        series = [
            Series(name=kind, x=run.curve_n, y=values, look=looks[kind][0], colour=looks[kind][1])
            for kind, values in run.curves.items()
        ]
        panels.append(
            Panel(
                title=_titled("Gold of best-of-n", name, runs),
                caption="Mean gold of the answer picked from n, with 95 % bands; n on a "
                "logarithmic scale.",
                figure=plots.bands(series, x_title="n", y_title="gold of the pick"),
                table=tables.curve(run),
            )
        )
    return panels or [_missing("Gold of best-of-n")]


def breakdowns(runs: Sequence[Run]) -> list[Panel]:
    panels = []
    for run, name in zip(runs, labels(runs), strict=True):
        kinds = dict.fromkeys(kind for r in run.rounds for kind in r.breakdown)
        if not kinds:
            continue
        series, columns = [], []
        for look, kind in enumerate(kinds):
            word, colour = KINDS.get(kind, (kind.replace("_", " "), SKY))
            y = [r.breakdown.get(kind, MISSING) for r in run.rounds]
            x = [r.index for r in run.rounds]
            if kind in run.breakdown_base:
                x, y = [0, *x], [run.breakdown_base[kind], *y]
            series.append(Series(name=word, x=x, y=y, look=look, colour=colour, share=True))
            columns.append(_kind_column(kind, word))
        title = _titled("Kinds of answer", name, runs)
        panels.append(
            Panel(
                title=title,
                caption="Shares of the round's answers; one answer can be of several kinds."
                + (" Round 0 is the base model." if run.breakdown_base else ""),
                figure=plots.rounds(
                    series, y_title="share of answers", y_range=(-0.03, 1.03), share=True
                ),
                table=by_round([run], title, columns),
            )
        )
    return panels or [_missing("Kinds of answer")]


def _kind_column(kind: str, word: str) -> tables.Column:
    return word.capitalize(), lambda r: estimate(r.breakdown.get(kind, MISSING), share=True)


def _missing(title: str) -> Panel:
    return Panel(title=title)


def _titled(title: str, name: str, runs: Sequence[Run]) -> str:
    return f"{title}: {name}" if len(runs) > 1 else title


def _has_gate(run: Run) -> bool:
    return any(r.gate.decision is not None or r.gate.e_value is not None for r in run.rounds)


def _spends(run: Run) -> bool:
    return any(r.labels for r in run.rounds)


def _gap(e: Estimate) -> float | None:
    return e.value
