"""A picture of curves as an SVG file, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["plot"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 660, 400, 56, 190, 16, 48
COLORS = ("#1a1a1a", "#cc79a7", "#d55e00", "#0072b2", "#e69f00", "#009e73")
STYLE = "text{font:13px system-ui,sans-serif;fill:#1b2733}polyline{fill:none;stroke-width:2.2}"
Curve = tuple[Sequence[float], Sequence[float]]


def plot(curves: Mapping[str, Curve], out: Path, *, x: str, y: str, most: float) -> None:
    """Draw named curves, each its xs and ys, up to the x `most`, with axes named x and y."""
    ys = [b for xs, values in curves.values() for a, b in zip(xs, values, strict=True) if a <= most]
    low, high = math.floor(2 * min(ys)) / 2, math.ceil(2 * max(ys)) / 2

    def place(a: float, b: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * a / most
        return round(across, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (high - b) / (high - low), 1)

    end, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{y} against {x}">',
        f'<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{(LEFT + end) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{x}</text>',
        f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})">{y}</text>',
    ]
    for i in range(int(most) + 1):
        parts.append(
            f'<text x="{place(i, low)[0]}" y="{floor + 18}" text-anchor="middle">{i}</text>'
        )
    for half in range(int(2 * low), int(2 * high) + 1):
        height = place(0, half / 2)[1]
        parts.append(f'<path d="M{LEFT},{height}H{end}" stroke="#dde3e8"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4}" text-anchor="end">{half / 2}</text>')
    for i, (name, (xs, values)) in enumerate(curves.items()):
        color, height = COLORS[i % len(COLORS)], TOP + 14 + 20 * i
        inside = [place(a, b) for a, b in zip(xs, values, strict=True) if a <= most]
        points = " ".join(f"{a},{b}" for a, b in inside)
        parts.append(f'<polyline points="{points}" stroke="{color}"/>')
        parts.append(
            f'<rect x="{end + 8}" y="{height - 6}" width="14" height="3" fill="{color}"/>'
            f'<text x="{end + 28}" y="{height}">{name}</text>'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join([*parts, "</svg>"]) + "\n")
