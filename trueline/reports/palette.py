"""Colours that colour-blind readers can tell apart, in a light and a dark version.

After Okabe & Ito 2008, "Color universal design". A figure is written in the light colours; the
page's script swaps them by `THEMES` when the reader's system is dark. Colour never carries a
meaning alone: runs differ in dash, decisions in symbol, edits in the stroke as well.

>>> THEMES["dark"][BLUE], faint(BLUE)
('#56b4e9', 'rgba(0,114,178,0.15)')
"""

from __future__ import annotations

__all__ = [
    "BLUE",
    "DASHES",
    "GREEN",
    "GRID",
    "INK",
    "MUTED",
    "ORANGE",
    "PAPER",
    "PURPLE",
    "SERIES",
    "THEMES",
    "VERMILLION",
    "faint",
]

INK, MUTED, GRID, PAPER = "#1c1d20", "#5b5f66", "#e4e5e8", "#fdfdfc"
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#b4608f", "#c98a00", "#3a93c9"

_DARK = {
    INK: "#e8e8e6",
    MUTED: "#a4a8b0",
    GRID: "#2d3036",
    PAPER: "#131417",
    BLUE: "#56b4e9",
    VERMILLION: "#f0803c",
    GREEN: "#2fc49b",
    PURPLE: "#dd92bd",
    ORANGE: "#e9b13b",
    SKY: "#8fd0f5",
}

SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, MUTED)
"""One colour a run, in order."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")


def faint(colour: str, alpha: float = 0.15) -> str:
    """The same colour as the fill of a band."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


THEMES = {
    "light": {},
    "dark": {**_DARK, **{faint(a): faint(b, 0.22) for a, b in _DARK.items()}},
}
