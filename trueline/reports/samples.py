"""Answers before and after, with what changed marked word by word.

The words removed and added are those of the longest matching blocks (Ratcliff & Obershelp, by
`difflib`). The text is data: it is cut into pieces here and escaped where it is shown.

>>> before, after = differences("7 + 5 = 13 ; sure", "7 + 5 = 12 ; sure")
>>> [(p.text, p.changed) for p in after]
[('7 + 5 = ', False), ('12', True), (' ; sure', False)]
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from trueline.reports.folder import Answer, Sample
from trueline.reports.typeset import num

__all__ = ["Piece", "Shown", "differences", "show"]

LONGEST = 1500
"""Characters of one text that are shown."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, and whether the other answer lacks it."""

    text: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One prompt with both answers, ready for the page."""

    prompt: str
    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    before_scores: str
    after_scores: str


def show(sample: Sample) -> Shown:
    """One sample, its long texts cut short and its differences marked."""
    before, after = differences(_short(sample.before.text), _short(sample.after.text))
    return Shown(
        prompt=_short(sample.prompt),
        before=before,
        after=after,
        before_scores=_scores(sample.before),
        after_scores=_scores(sample.after),
    )


def differences(before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts in pieces, each marked where the other has something else."""
    old, new = re.split(r"(\s+)", before), re.split(r"(\s+)", after)
    left: list[Piece] = []
    right: list[Piece] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        left += [Piece("".join(old[a:b]), kind != "equal")] if b > a else []
        right += [Piece("".join(new[c:d]), kind != "equal")] if d > c else []
    return tuple(left), tuple(right)


def _scores(answer: Answer) -> str:
    parts = [] if answer.gold is None else [f"gold {num(answer.gold)}"]
    if answer.mean is not None:
        doubt = "" if answer.std is None else f" ± {num(answer.std)}"
        parts.append(f"reward {num(answer.mean)}{doubt}")
    return " · ".join(parts) or "not scored"


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"
