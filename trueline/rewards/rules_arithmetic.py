"""Reward for worked arithmetic: every step holds, and the result is what was asked.

An answer gets 1 if it states at least one equation, all of its equations hold as exact rationals,
and its last number is both the result of one of them and what the prompt asks for: the number in
its meta["answer"], else the value of a prompt that is itself a sum ("What is 12 * (3 + 4)?", or
"start 7 , + 5 , * 3", worked from left to right).

Unscored: a prompt that is no sum and has no number in its meta; an equation that cannot be read.
Equations in words ("3 apples and 5 apples make 8") are not seen; a remainder or a mixed number
("5 / 2 = 2 R 1") reads as wrong. Text is never evaluated as code: only numbers, + - * / %, and
parentheses are read, at most 400 characters.

>>> Arithmetic().score(["7 + 5"] * 3, ["7 + 5 = 12", "7 + 5 = 13", "1 + 1 = 2"]).mean
array([1., 0., 0.])
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, from_meta
from trueline.rewards.rules_exact import NUMBER, extracted, final, number, plain

__all__ = ["Arithmetic", "asked_for", "equations", "holds", "value"]

_OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_TERM = rf"[-($ \t]{{0,20}}+(?>{NUMBER})[ \t]*+%?[) \t]*+"
_SIDE = rf"{_TERM}(?:[-+*/^]{{1,2}}{_TERM}){{0,60}}+"
_CHAIN = re.compile(rf"(?!(?<=\d)\d){_SIDE}(?:={_SIDE}){{1,60}}+")
_WORKS = re.compile(r"[\d)%.]\s*[-+*/^(]")
_REWRITTEN = (
    (re.compile(r"^[^\S\n]*(?:[-*+•]|\d+[.)])\s+", re.M), ""),  # the bullet or number of a list
    (re.compile(r"<<[^<>]*>>"), ""),  # a calculator's annotation, as in GSM8K
    (re.compile(r"\b(?:makes|equals)\b", re.I), "="),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=\$?[\d(.])"), " * "),
)


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Rule, kind="arithmetic"):
    """1 if all stated equations hold and lead to what the prompt asks for."""

    def grade_one(self, response: Response) -> Grade:
        right = from_meta(response.prompt, "answer")
        target = asked_for(response.prompt.text) if right is None else number(final(str(right)))
        if target is None:
            return "the prompt is no sum, and its meta holds no number under 'answer'"
        written = extracted(response.text, "last_number") or ""
        answer, unsure, results = number(written), "", []
        for sides in equations(response.text):
            try:
                if not holds(sides):
                    return 0.0
                results.append(value(sides[-1]))
            except ZeroDivisionError:
                return 0.0
            except ValueError as error:
                unsure = unsure or f"{' = '.join(sides)[:60]}: {error}"
        if answer is None or not _as_written(target, answer, _places(written)):
            return 0.0
        return unsure or float(answer in results)


def asked_for(question: str) -> Fraction | None:
    """Return the value of a question that is a sum; None if it is none, or has no value."""
    text = re.sub(r"^(?:what is|calculate|compute|evaluate)\b:?", "", plain(question), flags=re.I)
    text = text.strip(" \n=?.")
    if text.startswith("start "):
        first, *steps = text.removeprefix("start ").split(" , ")
        text = "(" * len(steps) + first + "".join(f" {step})" for step in steps)
    try:
        return value(text) if _WORKS.search(text) else None
    except (ValueError, ZeroDivisionError):
        return None


def value(text: str) -> Fraction:
    """Return the value of a formula of numbers, + - * /, percent signs and parentheses;
    `ValueError` where it is none, or too long; `ZeroDivisionError`."""
    source = re.sub(r"(?<![\d.,])0+(?=\d)|(?<=\d),(?=\d{3}(?!\d))", "", text.strip()[:401])
    source = re.sub(r"([\d.]+)\s*%", r"(\1/100)", source)
    if len(text.strip()) > 400 or re.search(r"[^\d\s.()*/+-]", source):
        raise ValueError("not a sum of numbers, or too long")
    try:
        return _value(ast.parse(source, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("not a sum of numbers") from None


def _value(tree: ast.expr) -> Fraction:
    match tree:
        case ast.Constant(value=int() | float() as one):
            return Fraction(str(one))
        case ast.UnaryOp():
            return _value(tree.operand) * (-1 if isinstance(tree.op, ast.USub) else 1)
        case ast.BinOp() if type(tree.op) in _OPERATIONS:
            return Fraction(_OPERATIONS[type(tree.op)](_value(tree.left), _value(tree.right)))
    raise ValueError("not a sum of numbers")


def holds(sides: Sequence[str]) -> bool:
    """Return whether neighbouring sides are equal, as far as they are written.

    A side written with decimals may be rounded at the last of them (a calculator's 13th digit
    too), and a percent sign may be the unit of both sides ("100 - 60 = 40%").
    """
    for left, right in pairwise(sides):
        places = max(_places(left), _places(right))
        written = [(left, right), (left.replace("%", ""), right.replace("%", ""))]
        if not any(_as_written(value(a), value(b), places) for a, b in written):
            return False
    return True


def _as_written(computed: Fraction, written: Fraction, places: int) -> bool:
    slack = max(Fraction(1, 2 * 10**places), abs(computed) / 10**12) if places else 0
    return abs(computed - written) <= slack


def _places(side: str) -> int:
    """Return the decimals of a side that is one number, 0 of any other."""
    decimals = re.fullmatch(r"\s*-?\s*\$?[\d,]*\.(\d+)\s*", side)
    return len(decimals[1]) if decimals else 0


def equations(text: str) -> list[list[str]]:
    """Return every chain "a = b [= c ...]" of numbers and signs in a text, as its sides.

    One of which a part is no number ("3 apples + 5 = 8") is left out.
    """
    text = plain(text)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    chains = []
    for match in _CHAIN.finditer(text):
        start = match.end() - len(match[0].lstrip())
        before, after = text[:start], text[match.end() :]
        cut_off = re.search(r"(?:[\w.]|[-+*/^:][ \t]*)\Z", before[-20:]) or after[:1] in [*"+-*/^:"]
        sides = [_balanced(side) for side in match[0].split("=")]
        if not cut_off and any(map(_WORKS.search, sides)):
            chains.append(sides)
    return chains


def _balanced(side: str) -> str:
    """Return a side without parentheses that enclose more than it, as in "(7 + 5 = 12)"."""
    while side.count("(") > side.count(")"):
        side = side.replace("(", "", 1)
    while side.count(")") > side.count("("):
        side = side[: side.rindex(")")] + side[side.rindex(")") + 1 :]
    return side.strip(" \t$")
