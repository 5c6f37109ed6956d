"""Gold against KL as an SVG file, without a plotting library: a line a run, bold their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gold_at_kl_curves import Curve

__all__ = ["plot"]

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 660, 400, 56, 16, 170, 48
FARTHEST = 6.0
"""KL at which the picture ends; a collapsed run goes on to some hundred nats."""
SHOWN = {
    "ours": ("#1a1a1a", "the loop, GRPO"),
    "lower": ("#0072b2", "lower bound, one fit"),
    "trl-mean": ("#d55e00", "TRL, mean of that fit"),
    "trl-plain": ("#e69f00", "TRL, plain logistic"),
    "trl-rm": ("#cc79a7", "TRL, its reward model"),
}
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" role="img" '
    'aria-label="Gold against KL from the trunk for five ways to climb.">'
    "<style>text{{font:13px ui-sans-serif,system-ui,sans-serif;fill:#1b2733}}"
    "polyline{{fill:none}}</style>"
    '<rect width="{w}" height="{h}" fill="#fff"/>'
)


def plot(found: Mapping[str, Mapping[int, Curve]], out: Path) -> None:
    """Every run of every arm; circles at the checkpoints of the mean."""
    every = [curve for runs in found.values() for curve in runs.values()]
    most = min(FARTHEST, max(float(c.kl.max()) for c in every))
    shown = [float(c.means[c.kl <= most].min()) for c in every]
    low, high = math.floor(2 * min(shown)) / 2, 2.7

    def place(kl: float, gold: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * kl / most
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - gold) / (high - low)
        return round(x, 1), round(y, 1)

    def line(kls: Sequence[float], golds: Sequence[float], color: str, width: float) -> str:
        points = " ".join(f"{x},{y}" for x, y in map(place, kls, golds))
        alpha = 1 if width > 1 else 0.4
        return (
            f'<polyline points="{points}" stroke="{color}" stroke-width="{width}" '
            f'stroke-opacity="{alpha}" clip-path="url(#inside)"/>'
        )

    parts = [HEAD.format(w=WIDTH, h=HEIGHT), *_axes(place, most, low, high)]
    inside = f'<rect x="{LEFT}" y="0" width="{WIDTH - LEFT - RIGHT + 3}" height="{HEIGHT}"/>'
    parts.append(f'<clipPath id="inside">{inside}</clipPath>')
    for i, (arm, runs) in enumerate(found.items()):
        if not runs:
            continue
        color, name = SHOWN[arm]
        for curve in runs.values():
            parts.append(line(curve.kl.tolist(), curve.means.tolist(), color, 1))
        kls = sum(curve.kl for curve in runs.values()) / len(runs)
        golds = sum(curve.means for curve in runs.values()) / len(runs)
        parts.append(line(kls, golds, color, 2.6))
        spots = [place(float(kl), float(gold)) for kl, gold in zip(kls, golds, strict=True)]
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{color}" clip-path="url(#inside)"/>'
            for x, y in spots
        ]
        y = TOP + 14 + 20 * i
        x = WIDTH - RIGHT + 8
        parts.append(f'<rect x="{x}" y="{y - 6}" width="14" height="3" fill="{color}"/>')
        parts.append(f'<text x="{x + 20}" y="{y}" style="font-size:11.5px">{name}</text>')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _axes(place: object, most: float, low: float, high: float) -> list[str]:
    assert callable(place)
    parts = []
    for i in range(int(most) + 1):
        x, y = place(i, low)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{i}</text>')
    for half in range(math.ceil(2 * low), int(2 * high) + 1):
        x, y = place(0, half / 2)
        end = WIDTH - RIGHT
        parts.append(f'<path d="M{x},{y}H{end}" stroke="#dde3e8"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{half / 2}</text>')
    x, y = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10
    parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">KL from the trunk, nats</text>')
    parts.append(f'<text x="14" y="{TOP + 120}" transform="rotate(-90 14 {TOP + 120})">gold</text>')
    return parts
