"""What all figures share: an empty figure in the house's look, lines, error bars, named levels.

Figures are transparent and without chrome, so that the page's own light or dark shows through.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from trueline.records import Estimate
from trueline.reports.palette import DASHES, GRID, INK, MUTED, PAPER, SERIES
from trueline.reports.typeset import estimate

__all__ = [
    "Series",
    "blank",
    "error_bars",
    "line_of",
    "name_level",
    "round_axis",
    "safe",
    "symbol",
]

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: a name, where its points are, and what was measured there."""

    name: str
    x: Sequence[float | None]
    y: Sequence[Estimate]
    look: int = 0
    colour: str | None = None
    share: bool = False

    @property
    def paint(self) -> str:
        return self.colour or SERIES[self.look % len(SERIES)]


def blank(x_title: str, y_title: str, *, legend: bool) -> go.Figure:
    axis: dict[str, Any] = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "fixedrange": True,
    }
    titles = ({"text": t, "standoff": 8, "font": {"size": 12}} for t in (x_title, y_title))
    return go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 12, "color": INK},
            "margin": {"l": 48, "r": 10, "t": 10, "b": 40},
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": PAPER,
                "bordercolor": MUTED,
                "font": {"family": FONT, "size": 12, "color": INK},
            },
            "dragmode": False,
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "xaxis": {**axis, "title": next(titles), "showgrid": False, "showline": True},
            "yaxis": {**axis, "title": next(titles)},
        }
    )


def line_of(one: Series) -> dict[str, Any]:
    return {
        "x": list(one.x),
        "y": [e.value for e in one.y],
        "name": safe(one.name),
        "line": {"color": one.paint, "width": 1.8, "dash": DASHES[one.look % len(DASHES)]},
        "customdata": [estimate(e, share=one.share) for e in one.y],
        "hovertemplate": f"{safe(one.name)}: %{{customdata}}<extra></extra>",
        "cliponaxis": False,
    }


def error_bars(spread: Sequence[Estimate], colour: str) -> dict[str, Any]:
    """Asymmetric error bars; nothing where there is no interval."""
    whole = [e.value is not None and e.lower is not None and e.upper is not None for e in spread]
    pairs = list(zip(spread, whole, strict=True))
    up = [(e.upper or 0) - (e.value or 0) if ok else None for e, ok in pairs]
    down = [(e.value or 0) - (e.lower or 0) if ok else None for e, ok in pairs]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": colour,
        "thickness": 1.3,
        "width": 0,
        "visible": any(whole),
    }


def round_axis(
    figure: go.Figure, found: Sequence[float], ticks: tuple[list[int], list[str]] | None = None
) -> None:
    first, last = min(map(round, found), default=1), max(map(round, found), default=1)
    figure.update_xaxes(range=[first - 0.5, last + 0.5])
    if ticks is not None:
        figure.update_xaxes(tickvals=ticks[0], ticktext=ticks[1])
    elif last <= 12:
        figure.update_xaxes(dtick=1, tick0=1)


def name_level(figure: go.Figure, text: str, y: float) -> None:
    """A horizontal line, named in the legend, where no curve can hide its name."""
    figure.add_hline(
        y=y,
        line={"color": MUTED, "width": 1.2, "dash": "dot"},
        name=safe(text),
        showlegend=True,
    )
    figure.update_layout(showlegend=True)


def symbol(look: int) -> str:
    return ("circle", "diamond", "square", "triangle-up", "cross", "star", "x")[look % 7]


def safe(text: str) -> str:
    """Plotly reads a little HTML in its texts; ours are data."""
    return html.escape(text)
