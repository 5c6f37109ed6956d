r"""Where an answer stands in a text, and which number it is.

    final        the last \boxed{...}, else what follows "####" (as in GSM8K), else the whole text
    boxed        the last \boxed{...}
    whole        the whole text
    last_number  the last number; a minus counts if nothing stands before it
    after:MARK   what follows the last MARK, to the end of its line

>>> extractor("after:A:")("so A: 18\n"), number("$1,000.50"), number("7 apples")
(' 18', Fraction(2001, 2), None)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from trueline.errors import InputError

__all__ = ["NUMBER", "extractor", "fenced", "final", "number", "plain"]

NUMBER = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|\.\d+(?:[eE][-+]?\d{1,3})?"
)
"""An unsigned number as written."""
_ONE = re.compile(rf"([-+]?)\s*\$?({NUMBER})(?:\s*/\s*({NUMBER}))?\s*(%?)")
_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/"}
    | {"\u00a0": " ", "\u202f": " ", "\u2009": " "}
)
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)(\d))"), r"((\1\3)/(\2\4))"),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
    (re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\(?:left|right|displaystyle)\b"), ""),
    (re.compile(r"\\[,;!: ]|\{,\}(?=\d{3})|\\?\$"), ""),
    (re.compile(r"\\(?:times|cdot)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\%"), "%"),
)


def extractor(name: str) -> Callable[[str], str | None]:
    """Return the function of this name: from a text to the answer in it, None if there is none."""
    if name.startswith("after:") and name != "after:":
        return lambda text: _after(name.removeprefix("after:"), text)
    known: dict[str, Callable[[str], str | None]] = {
        "final": final, "boxed": _boxed, "whole": str, "last_number": _last_number,
    }  # fmt: skip
    if name not in known:
        raise InputError(
            f"extract must be one of {', '.join(known)}, or after:MARKER", got=repr(name)
        )
    return known[name]


def final(text: str) -> str:
    """Return the last boxed answer, else what follows the last "####", else the whole text."""
    return next((a for a in (_boxed(text), _after("####", text)) if a is not None), text)


def fenced(text: str, *languages: str) -> str | None:
    """Return the last block between ``` lines of one of these languages, or marked as none."""
    blocks = re.findall(r"^[ ]{0,3}```[ ]*(\w*)[^\n]*\n(.*?)^[ ]{0,3}```", text, re.S | re.M)
    fit = [body for name, body in blocks if name.lower() in (*languages, "")]
    return fit[-1] if fit else None


def number(text: str) -> Fraction | None:
    """Return the number that a text is, None if it is anything else; a full stop may follow.

    Money signs, thousands' commas, fractions and percent signs are read: "$1,000", "1/2", "50%".
    """
    match = _ONE.fullmatch(plain(text[:500]).strip().removesuffix(".").strip())
    if match is None or len(text) > 500:
        return None
    try:
        over = Fraction(match[3].replace(",", "")) if match[3] else Fraction(1)
        size = Fraction(match[2].replace(",", "")) / over / (100 if match[4] else 1)
    except ZeroDivisionError:
        return None
    return -size if match[1] == "-" else size


def plain(text: str) -> str:
    """Return the text with one sign for each operation, and common LaTeX resolved."""
    text = text.translate(_CHARACTERS)
    for _ in range(5 if "\\" in text or "{" in text or "$" in text else 0):
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    depth = 0
    for at in range(start + 6, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 7 : at]
    return None


def _after(marker: str, text: str) -> str | None:
    _, there, rest = text.rpartition(marker)
    return rest.split("\n", 1)[0] if there else None


def _last_number(text: str) -> str | None:
    pattern = rf"(?<![\w.])(?:(?<![\d)%])-)?\\?\$?(?:{NUMBER})(?:/\d+)?%?"
    numbers = re.findall(pattern, plain(text))
    return numbers[-1] if numbers else None
