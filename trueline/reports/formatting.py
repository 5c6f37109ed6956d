r"""Format numbers as a reader wants them: few digits, a real minus sign, the interval beside.

>>> number(-0.4213), number(2041.0), estimate(Estimate(0.883, 0.851, 0.912, 300), share=True)
('−0.42', '2,041', '88\xa0% [85,\xa091]')
>>> number(None), e_value(3.2e7)
('not measured', '3.2 × 10⁷')
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from trueline.records import Estimate

__all__ = [
    "NOT_MEASURED",
    "count",
    "duration",
    "e_value",
    "estimate",
    "interval",
    "number",
    "percent",
    "plain",
    "plural",
]

NOT_MEASURED = "not measured"
SPACE = "\u00a0"
"""Does not break: a number stays with its unit, an interval in one piece."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, decimals: int = 2) -> str:
    """Return at most `decimals` decimals, fewer where the number is large."""
    if value is None:
        return NOT_MEASURED
    size = abs(value)
    if decimals and 0 < size < 0.5 * 10**-decimals:
        return e_value(value)
    places = 0 if size >= 1000 else min(1, decimals) if size >= 100 else decimals
    text = f"{value:,.{places}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as a percentage."""
    return NOT_MEASURED if share is None else f"{number(100 * share, 0)}{SPACE}%"


def interval(e: Estimate, *, share: bool = False, decimals: int = 2) -> str:
    """Return [lower, upper], or nothing where there is no interval."""
    if e.value is None or e.lower is None or e.upper is None:
        return ""
    scale, decimals = (100, 0) if share else (1, decimals)
    return f"[{number(scale * e.lower, decimals)},{SPACE}{number(scale * e.upper, decimals)}]"


def estimate(e: Estimate, *, share: bool = False, decimals: int = 2) -> str:
    """Return value and interval in one phrase."""
    value = percent(e.value) if share else number(e.value, decimals)
    return f"{value} {interval(e, share=share, decimals=decimals)}".strip()


def e_value(value: float | None) -> str:
    """Return evidence that spans many orders of magnitude with two digits of it."""
    if value is None:
        return NOT_MEASURED
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if -2 <= power < 4:
        return f"{value:,.{max(0, 1 - power)}f}".replace("-", "−")
    return f"{value / 10**power:.1f} × 10{str(power).translate(_SUPERSCRIPT)}".replace("-", "−")


def count(value: int | None) -> str:
    """Return a whole number with its thousands apart."""
    return NOT_MEASURED if value is None else f"{value:,}"


def plural(value: int, noun: str) -> str:
    """Return '1 round', '1,200 rounds' or 'no rounds'."""
    return f"{f'{value:,}' if value else 'no'} {noun}{'' if value == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Return hours, minutes and seconds, as 0:04:12."""
    return NOT_MEASURED if seconds is None else str(timedelta(seconds=round(seconds)))


def plain(value: Any) -> str:
    """Return a configuration value in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value) or "none"
    return str(value)
