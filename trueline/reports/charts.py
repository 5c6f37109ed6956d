"""Draw measured points with their intervals as inline SVG, and list the same numbers as a table.

The colours are the page's CSS variables, so that charts follow light and dark; ElementTree escapes
every string. Each point carries its interval as a bar and its words as a tooltip; what was not
measured leaves a gap. Colour never carries a meaning alone: series differ in dash and marker too.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from trueline.records import Estimate
from trueline.reports.formatting import NOT_MEASURED, e_value, estimate, number

__all__ = ["Axis", "ReportSection", "Series", "section"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 280, 56, 14, 14, 44
FLOOR = 1e-3
"""On a logarithmic axis smaller values are drawn here."""
COLOURS = 7
SYMBOLS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-3.5,-3.5h7v7h-7z",
    "M0,-5L5,0L0,5L-5,0z",
    "M0,-5L4.5,3.5L-4.5,3.5z",
)


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """One chart and its numbers under a title; no chart: it was not measured."""

    title: str
    chart: str = ""
    head: tuple[str, ...] = ()
    """Names of the columns of its numbers."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Its numbers in words; the first names the row."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: a name, where its points are, and what was measured there."""

    name: str
    x: Sequence[float | None]
    y: Sequence[Estimate]
    discs: Sequence[tuple[str, bool]] = ()
    """For each point the text of a disc and whether it is filled; plain markers if empty."""
    ringed: int | None = None
    """Which point is of the policy that was kept."""


@dataclass(frozen=True)
class Axis:
    """What an axis shows; limits and ticks follow the points where they are not given."""

    title: str
    limits: tuple[float, float] | None = None
    ticks: Sequence[float] = ()
    log: bool = False
    share: bool = False
    """Values are shares in [0, 1], written as percentages."""

    def words(self, e: Estimate) -> str:
        """Return what was measured, with its interval and n."""
        text = e_value(e.value) if self.log else estimate(e, share=self.share)
        return f"{text}, n = {e.n:,}" if e.n and e.value is not None else text


class _Scale:
    def __init__(self, axis: Axis, values: Sequence[float], start: float, stop: float) -> None:
        self.axis, self.start, self.stop = axis, start, stop
        places = [self._place(v) for v in axis.limits or values]
        air = 0.0 if axis.limits else 0.07 * (max(places) - min(places)) or 0.5
        self.low, self.high = min(places) - air, max(places) + air

    def _place(self, value: float) -> float:
        return math.log10(max(value, FLOOR)) if self.axis.log else value

    def __call__(self, value: float) -> float:
        share = (self._place(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> dict[float, str]:
        """Return values and labels: those given, powers of ten, or round numbers."""
        if self.axis.ticks:
            return {v: f"{v:g}" for v in self.axis.ticks if self.low <= self._place(v) <= self.high}
        if self.axis.log:
            powers = range(math.ceil(self.low), math.floor(self.high) + 1)
            return {10.0**p: e_value(10.0**p) for p in powers[:: max(1, len(powers) // 5)]}
        size = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(f * size for f in (1, 2, 5, 10) if (self.high - self.low) / (f * size) <= 6)
        whole = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        decimals = max(0, -math.floor(math.log10(step)))
        values = [round(i * step, 10) for i in whole]
        return {v: f"{v:.0%}" if self.axis.share else number(v, decimals) for v in values}


def section(
    title: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    level: tuple[str, float] | None = None,
    diagonal: bool = False,
    kept: str = "",
) -> ReportSection:
    """Return the chart and the numbers of the series that were measured, if any was.

    `level`: the name and the height of a dotted line. `diagonal`: dot the line y = x. `kept`: words
    for the rings.
    """
    series = [one for one in series if any(e.value is not None for e in one.y)]
    if not series:
        return ReportSection(title=title)
    root = ET.Element("div", {"class": "chart"})
    legend = _add(root, "p", class_="legend")
    for look, one in enumerate(series if len(series) > 1 else ()):
        key = _add(legend, "span", class_=f"s{look % COLOURS}")
        _key(key, one.name, "join", SYMBOLS[look % len(SYMBOLS)])
    if kept:
        _key(_add(legend, "span"), kept, "", "", ring=any(s.ringed is not None for s in series))
    svg = _add(root, "svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", aria_hidden="true")
    ends = [v for s in series for e in s.y for v in (e.value, e.lower, e.upper) if v is not None]
    across = [v for s in series for v in s.x if v is not None]
    to_x = _Scale(x, across, LEFT, WIDTH - RIGHT)
    to_y = _Scale(y, [*ends, *(level[1:] if level else ())], HEIGHT - BOTTOM, TOP)
    _axes(svg, to_x, to_y)
    if level is not None:
        _key(_add(legend, "span"), level[0], "level", "")
        _line(svg, "level", (LEFT, to_y(level[1])), (WIDTH - RIGHT, to_y(level[1])))
    if diagonal:
        low, high = max(to_x.low, to_y.low), min(to_x.high, to_y.high)
        _line(svg, "level", (to_x(low), to_y(low)), (to_x(high), to_y(high)))
    for look, one in enumerate(series):
        # Bars of several series at one x stand side by side.
        shift = 0.0 if one.discs else 5 * (look - (len(series) - 1) / 2)
        _points(_add(svg, "g", class_=f"s{look % COLOURS}"), one, look, (to_x, to_y, shift))
    chart = Markup(ET.tostring(root, encoding="unicode", short_empty_elements=False))
    head, rows = _numbers(series, x, y)
    return ReportSection(title=title, chart=chart, head=head, rows=rows)


def _numbers(
    series: Sequence[Series], x: Axis, y: Axis
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the names of the columns, one a series, and one row a point of the x axis."""
    rows: dict[str, dict[int, str]] = {}
    for column, one in enumerate(series):
        for i, (at, e) in enumerate(zip(one.x, one.y, strict=True)):
            place = NOT_MEASURED if at is None else f"{at:.0%}" if x.share else f"{at:g}"
            name = f"round {one.discs[i][0]}, {number(at)}" if one.discs else place
            rows.setdefault(name, {})[column] = y.words(e) + " (kept)" * (i == one.ringed)
    names = [one.name for one in series] if len(series) > 1 else [y.title]
    columns = range(len(series))
    cells = ((name, *(row.get(i, "") for i in columns)) for name, row in rows.items())
    return (x.title, *names), tuple(cells)


def _points(group: ET.Element, one: Series, look: int, to: tuple[_Scale, _Scale, float]) -> None:
    """Draw one series: its line, its bars, then its points on top of them."""
    to_x, to_y, shift = to
    points = [
        (i, to_x(at) + shift, to_y(e.value), e)
        for i, (at, e) in enumerate(zip(one.x, one.y, strict=True))
        if at is not None and e.value is not None
    ]
    for (i, *start, _), (j, *stop, _) in pairwise(points):
        if j == i + 1:
            _line(group, "join", start, stop)
    for i, x, y, e in sorted(points, key=lambda point: point[0] == one.ringed):
        if e.lower is not None and e.upper is not None:
            _line(group, "bar", (x, to_y(e.lower)), (x, to_y(e.upper)))
        place = _add(group, "g", transform=f"translate({x:.1f},{y:.1f})")
        _add(place, "title", f"{one.name}: {to_y.axis.words(e)}")
        if one.discs:
            text, filled = one.discs[i]
            _add(place, "circle", r=9, class_="disc filled" if filled else "disc")
            _add(place, "text", text, y=4, class_="filled" if filled else "")
        else:
            _add(place, "path", d=SYMBOLS[look % len(SYMBOLS)], class_="point")
        if i == one.ringed:
            _add(place, "circle", r=13 if one.discs else 8, class_="ring")


def _axes(svg: ET.Element, to_x: _Scale, to_y: _Scale) -> None:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value, label in to_y.ticks().items():
        _line(svg, "grid", (LEFT, to_y(value)), (right, to_y(value)))
        _add(svg, "text", label, x=LEFT - 7, y=to_y(value) + 4, class_="y")
    _line(svg, "axis", (LEFT, bottom), (right, bottom))
    for value, label in to_x.ticks().items():
        _add(svg, "text", label, x=to_x(value), y=bottom + 17)
    _add(svg, "text", to_x.axis.title, x=(LEFT + right) / 2, y=HEIGHT - 6)
    turned = f"translate(13,{(TOP + bottom) / 2:.1f}) rotate(-90)"
    _add(svg, "text", to_y.axis.title, transform=turned)


def _key(key: ET.Element, name: str, line: str, symbol: str, *, ring: bool = False) -> None:
    if line or ring:
        sample = _add(key, "svg", viewBox="-14 -6 28 12", aria_hidden="true")
        _line(sample, line, (-13, 0), (13, 0))
        _add(sample, "path", d=symbol, class_="point")
        _add(sample, "circle", r=5 * ring, class_="ring")
    _add(key, "span", name)


def _line(parent: ET.Element, kind: str, start: Sequence[float], stop: Sequence[float]) -> None:
    x1, y1, x2, y2 = map(float, (*start, *stop))
    _add(parent, "line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: Any) -> ET.Element:
    """Append an element; names lose a last underscore, and others become hyphens."""
    named = {
        name.rstrip("_").replace("_", "-"): f"{v:.1f}" if isinstance(v, float) else str(v)
        for name, v in attributes.items()
    }
    element = ET.SubElement(parent, tag, named)
    element.text = text
    return element
