"""Figures as Plotly draws them: transparent, without chrome, in the palette's light colours.

Every point carries its interval as an error bar or a band, and its exact words on hover. What was
not measured leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from trueline.records import Estimate
from trueline.reports.canvas import (
    Series,
    blank,
    error_bars,
    line_of,
    name_level,
    round_axis,
    safe,
    symbol,
)
from trueline.reports.folder import Bin, Run
from trueline.reports.palette import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    VERMILLION,
    faint,
)
from trueline.reports.typeset import estimate

__all__ = [
    "DECISIONS",
    "bands",
    "bars",
    "calibration",
    "gate",
    "gate_range",
    "path",
    "rounds",
]

DECISIONS = {"accept": "certified", "hold": "held", "roll_back": "rolled back"}
SIGNS = {"accept": "✓", "hold": "–", "roll_back": "✗"}
FLOOR = 1e-3
"""E-values below this are drawn here: how little evidence there is no longer matters."""


def path(
    series: Sequence[Series],
    marks: Sequence[Sequence[tuple[str, str | None]]],
    *,
    x_spread: Sequence[Sequence[Estimate]],
    x_title: str,
    y_title: str,
    level: tuple[str, float] | None = None,
) -> go.Figure:
    """Points joined in the order of the rounds, each mark its round's number and gate decision."""
    several = len(series) > 1
    figure = blank(x_title, y_title, legend=several)
    for one, mark, spread in zip(series, marks, x_spread, strict=True):
        hollow = [decision not in ("accept", "base") for _, decision in mark]
        figure.add_trace(
            go.Scatter(
                **line_of(one),
                mode="lines+markers+text",
                showlegend=several,
                text=[text for text, _ in mark],
                textfont={"size": 10, "color": [one.paint if h else PAPER for h in hollow]},
                error_y=error_bars(one.y, one.paint),
                error_x={**error_bars(spread, one.paint), "thickness": 0.8},
                marker={
                    "size": 17,
                    "symbol": ["square" if d == "roll_back" else "circle" for _, d in mark],
                    "color": [PAPER if h else one.paint for h in hollow],
                    "line": {"color": one.paint, "width": 1.6},
                },
            )
        )
    if level is not None:
        name_level(figure, *level)
    return figure


def rounds(
    series: Sequence[Series],
    *,
    y_title: str,
    level: tuple[str, float] | None = None,
    y_range: tuple[float, float] | None = None,
    share: bool = False,
    from_zero: bool = False,
) -> go.Figure:
    """One point a round, several lines shifted a little so that their bars stay apart."""
    several = len(series) > 1
    figure = blank("round", y_title, legend=several)
    for i, one in enumerate(series):
        shift = 0.09 * (i - (len(series) - 1) / 2)
        moved = Series(
            name=one.name,
            x=[None if x is None else x + shift for x in one.x],
            y=one.y,
            look=one.look,
            colour=one.colour,
            share=one.share,
        )
        figure.add_trace(
            go.Scatter(
                **line_of(moved),
                mode="lines+markers",
                showlegend=several,
                error_y=error_bars(one.y, one.paint),
                marker={"size": 7, "color": one.paint, "symbol": symbol(one.look)},
            )
        )
    round_axis(figure, [x for one in series for x in one.x if x is not None])
    low, high = y_range or _span(series, level)
    figure.update_yaxes(range=[0 if from_zero else low, high])
    if share:
        figure.update_yaxes(tickformat=".0%")
    if level is not None:
        name_level(figure, *level)
    return figure


def bands(series: Sequence[Series], *, x_title: str, y_title: str) -> go.Figure:
    """Lines over a logarithmic n, each in its band."""
    figure = blank(x_title, y_title, legend=True)
    for one in series:
        whole = [
            (x, e.lower, e.upper)
            for x, e in zip(one.x, one.y, strict=False)
            if e.lower is not None and e.upper is not None
        ]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _, _ in whole] + [x for x, _, _ in reversed(whole)],
                y=[high for _, _, high in whole] + [low for _, low, _ in reversed(whole)],
                fill="toself",
                fillcolor=faint(one.paint),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=safe(one.name),
            )
        )
        figure.add_trace(
            go.Scatter(
                **line_of(one),
                mode="lines+markers",
                legendgroup=safe(one.name),
                marker={"size": 6, "color": one.paint, "symbol": symbol(one.look)},
            )
        )
    ticks = sorted({x for one in series for x in one.x if x is not None})
    shown = ticks if len(ticks) <= 9 else ticks[::2]
    figure.update_xaxes(type="log", tickvals=shown, ticktext=[f"{x:g}" for x in shown])
    return figure


def gate(run: Run, y_range: tuple[float, float]) -> go.Figure:
    """Evidence of each round for "better" and for "worse", against the round's threshold."""
    figure = blank("round and decision", "e-value", legend=True)
    held = [r for r in run.rounds if r.gate.decision is not None or r.gate.e_value is not None]
    at = [r.index for r in held]
    _lollipops(figure, "new is better", at, [r.gate.e_value for r in held], (BLUE, "circle", -0.08))
    worse = [r.gate.e_value_worse for r in held]
    _lollipops(figure, "new is worse", at, worse, (ORANGE, "triangle-down", 0.08))
    edges = [
        (x, r.gate.threshold)
        for r in held
        if r.gate.threshold is not None
        for x in (r.index - 0.5, r.index + 0.5, None)
    ]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in edges],
            y=[threshold for _, threshold in edges],
            name="threshold",
            mode="lines",
            line={"color": INK, "width": 1.5, "dash": "dash"},
            hovertemplate="threshold %{y:.3g}<extra></extra>",
        )
    )
    round_axis(figure, [r.index for r in run.rounds], _decision_ticks(run))
    figure.update_xaxes(tickangle=0, tickfont={"size": 11})
    low, high = (math.log10(end) for end in y_range)
    step = max(1, math.ceil((high - low) / 6))
    figure.update_yaxes(
        type="log",
        range=[low, high],
        dtick=step,
        exponentformat="power",
        tickfont={"size": 11},
    )
    figure.add_hline(y=1, line={"color": MUTED, "width": 1})
    return figure


def _lollipops(
    figure: go.Figure,
    name: str,
    at: Sequence[int],
    values: Sequence[float | None],
    look: tuple[str, str, float],
) -> None:
    """A mark at each e-value on a stem from 1 (no evidence). `look`: colour, mark, shift."""
    colour, mark, shift = look
    x = [i + shift for i in at]
    y = [None if v is None else max(v, FLOOR) for v in values]
    stems = [
        (place, end)
        for place, v in zip(x, y, strict=True)
        if v is not None
        for end in (1.0, v, None)
    ]
    figure.add_trace(
        go.Scatter(
            x=[place for place, _ in stems],
            y=[end for _, end in stems],
            mode="lines",
            line={"color": colour, "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            name=name,
            legendgroup=name,
            mode="markers",
            marker={"size": 9, "color": colour, "symbol": mark},
            hovertemplate=f"{name}: %{{y:.3g}}<extra></extra>",
        )
    )


def gate_range(runs: Sequence[Run]) -> tuple[float, float]:
    """One range of evidence for all runs, thresholds included."""
    values = [
        max(v, FLOOR)
        for run in runs
        for r in run.rounds
        for v in (r.gate.e_value, r.gate.e_value_worse, r.gate.threshold)
        if v is not None
    ]
    return min([0.2, *values]) / 2, max([10.0, *values]) * 3


def calibration(past: Sequence[Sequence[Bin]], last: Sequence[Bin], name: str) -> go.Figure:
    """Predicted against observed share of wins; earlier rounds faint, the last with intervals."""
    figure = blank("predicted share", "observed share", legend=True)
    figure.add_trace(_diagonal())
    for i, bins in enumerate(past):
        figure.add_trace(
            go.Scatter(
                x=[b.predicted for b in bins],
                y=[b.observed for b in bins],
                name="earlier rounds",
                legendgroup="earlier",
                showlegend=i == 0,
                mode="markers",
                marker={"size": 6, "color": PAPER, "line": {"color": MUTED, "width": 1.2}},
                hovertemplate="predicted %{x:.0%}, observed %{y:.0%}<extra></extra>",
            )
        )
    spread = [Estimate(b.observed, b.lower, b.upper, b.n) for b in last]
    figure.add_trace(
        go.Scatter(
            x=[b.predicted for b in last],
            y=[b.observed for b in last],
            name=name,
            mode="lines+markers",
            line={"color": BLUE, "width": 1.5},
            marker={"size": 8, "color": BLUE},
            error_y=error_bars(spread, BLUE),
            customdata=[
                f"predicted {b.predicted:.0%}, observed {estimate(e, share=True)}, n = {b.n}"
                for b, e in zip(last, spread, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", dtick=0.25)
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", dtick=0.25)
    return figure


def bars(run: Run, names: dict[str, str], top: float) -> go.Figure:
    """Labels of each round, stacked by what they were spent on."""
    figure = blank("round", "labels", legend=True)
    for i, (purpose, name) in enumerate(names.items()):
        figure.add_trace(
            go.Bar(
                x=[r.index for r in run.rounds],
                y=[r.labels.get(purpose) for r in run.rounds],
                name=safe(name),
                width=0.6,
                marker={
                    "color": (BLUE, ORANGE, GREEN, VERMILLION)[i % 4],
                    "pattern": {
                        "shape": ("", "/", "x", ".")[i % 4],
                        "fillmode": "overlay",
                        "size": 5,
                    },
                },
                hovertemplate=f"{safe(name)}: %{{y}}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack")
    figure.update_yaxes(range=[0, top * 1.08])
    round_axis(figure, [r.index for r in run.rounds])
    return figure


def _decision_ticks(run: Run) -> tuple[list[int], list[str]] | None:
    """The decision under each round's number: its word while there is room, or else its sign."""
    if len(run.rounds) > 14:
        return None
    made = [r.gate.decision or "" for r in run.rounds]
    words = [(DECISIONS if len(run.rounds) <= 5 else SIGNS).get(d, "none") for d in made]
    broken = [word.replace(" ", "<br>") for word in words]
    indices = [r.index for r in run.rounds]
    return indices, [f"{i}<br>{word}" for i, word in zip(indices, broken, strict=True)]


def _span(series: Sequence[Series], level: tuple[str, float] | None) -> tuple[float, float]:
    """All points, intervals and the level, with some air."""
    measured = [e for one in series for e in one.y]
    ends = [v for e in measured for v in (e.value, e.lower, e.upper) if v is not None]
    ends += [level[1]] if level is not None else []
    low, high = min(ends), max(ends)
    air = 0.08 * (high - low) or 0.5
    return low - air, high + air


def _diagonal() -> go.Scatter:
    return go.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": MUTED, "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
