"""Reward for worked arithmetic: every step holds, and the result is what was asked.

An answer gets 1 if it states at least one equation, all of its equations hold as exact rationals,
and its final value is both the result of one of them and what the prompt asks for: the number in
the prompt's meta, else the value of a prompt that is itself a sum ("What is 12 * (3 + 4)?", or
"start 7 , + 5 , * 3", worked from left to right).

    0         a wrong equation, none at all, or another final value
    unscored  a prompt that is no sum and has no number in its meta; an equation beyond limits

Equations in words ("3 apples and 5 apples make 8") are not seen; a remainder or a mixed number
("5 / 2 = 2 R 1") reads as wrong. Text is never evaluated as code: only numbers, signs and
parentheses are read, at most 400 characters, and at most 4,000 bits a number.

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

from trueline.records import Prompt, Response
from trueline.rewards.rules_extract import NUMBER, extractor, final, number, plain
from trueline.rewards.rules_grade import Grade, Rule, from_meta

__all__ = ["Arithmetic", "Unreadable", "asked_for", "equations", "holds", "value"]

_MOST_CHARACTERS, _MOST_BITS = 400, 4000


class Unreadable(ValueError):
    """Not a formula of numbers, or beyond the limits."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Rule):
    """1 if all stated equations hold and lead to what the prompt asks for."""

    expected: str = "answer"
    """Key of the prompt's meta; where it holds no number, the prompt must be a sum itself."""
    extract: str = "last_number"
    """Where the final value stands: final, boxed, whole, last_number, or after:MARKER."""

    def __post_init__(self) -> None:
        extractor(self.extract)

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0, 0.0, or why it cannot be said, for each response."""
        return [self._grade(response.prompt, response.text) for response in responses]

    def _grade(self, prompt: Prompt, text: str) -> Grade:
        right = from_meta(prompt, self.expected)
        target = number(final(str(right))) if right is not None else asked_for(prompt.text)
        if target is None:
            return f"the prompt is no sum, and its meta holds no number under {self.expected!r}"
        chains = equations(text)
        answer = number(extractor(self.extract)(text) or "")
        if not chains or answer is None:
            return 0.0
        unsure, results = "", []
        for sides in chains:
            try:
                if not holds(sides):
                    return 0.0
                results.append(value(sides[-1]))
            except ZeroDivisionError:
                return 0.0
            except Unreadable as error:
                unsure = unsure or f"{' = '.join(sides)[:60]}: {error}"
        if not _as_written(target, answer, _places(str(extractor(self.extract)(text)))):
            return 0.0
        return unsure or float(answer in results)


def asked_for(question: str) -> Fraction | None:
    """Return the value of a question that is a sum; None if it is none, or has no value.

    >>> asked_for("What is 2 * (3 + 4)?"), asked_for("start 7 , + 5 , * 3"), asked_for("Who?")
    (Fraction(14, 1), Fraction(36, 1), None)
    """
    question = plain(question)
    steps = re.fullmatch(rf"\s*start\s+(-?{NUMBER})((?:\s*,\s*[-+*/]\s*{NUMBER})+)\s*", question)
    try:
        if steps is not None:
            total = f"({steps[1]})"
            for step in re.split(r"\s*,\s+", steps[2].strip(" ,")):
                total = f"({total} {step})"
            return value(total)
        sum_ = _QUESTION.fullmatch(question)
        return value(sum_[1]) if sum_ is not None else None
    except (Unreadable, ZeroDivisionError):
        return None


_QUESTION = re.compile(
    r"\s*(?:(?:what is|what's|how much is|calculate|compute|evaluate|solve|work out)\b[: ]*)?"
    r"([-+*/^().,%\d\s]*\d[-+*/^().,%\d\s]*?[+*/^-][-+*/^().,%\d\s]*?)\s*(?:=\s*\??|\?|\.)?\s*",
    re.I,
)


def value(text: str) -> Fraction:
    """Return the value of a formula of numbers, + - * / ^, percent signs and parentheses.

    Raises:
        Unreadable: it is no such formula, or too large to compute.
        ZeroDivisionError: it divides by zero.
    """
    numbers: list[Fraction] = []

    def name(match: re.Match[str]) -> str:
        one = number(match[0])
        if one is None:
            raise Unreadable("a number is too large to compute")
        numbers.append(one)
        return f" n{len(numbers) - 1} "

    # Numbers become names, so that Python's parser meets nothing but names and signs.
    source = re.sub(rf"(?:{NUMBER})\s*%?", name, text[: _MOST_CHARACTERS + 1])
    if len(text) > _MOST_CHARACTERS or re.search(r"[^n\d\s()*/^+-]", source):
        raise Unreadable("not a formula of numbers, or too long")
    source = re.sub(r"(?<=[\d)])\s*(?=\()|(?<=\))\s*(?=n)", "*", source.strip())
    try:
        tree = ast.parse(source.replace("^", "**"), mode="eval")
        return _value(tree.body, numbers)
    except (SyntaxError, RecursionError, MemoryError):
        raise Unreadable("not a formula of numbers") from None


_OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def _value(tree: ast.expr, numbers: Sequence[Fraction]) -> Fraction:
    if isinstance(tree, ast.Name) and re.fullmatch(r"n\d+", tree.id):
        return numbers[int(tree.id[1:])]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        inner = _value(tree.operand, numbers)
        return -inner if isinstance(tree.op, ast.USub) else inner
    if not isinstance(tree, ast.BinOp):
        raise Unreadable("not a formula of numbers")
    left, right = _value(tree.left, numbers), _value(tree.right, numbers)
    if isinstance(tree.op, ast.Pow):
        if right.denominator != 1 or abs(right) * _bits(left) > _MOST_BITS:
            raise Unreadable("a power is not whole, or too large to compute")
        return Fraction(left) ** int(right)
    if type(tree.op) not in _OPERATIONS:
        raise Unreadable("not a formula of numbers")
    result = Fraction(_OPERATIONS[type(tree.op)](left, right))
    if _bits(result) > _MOST_BITS:
        raise Unreadable("a number is too large to compute")
    return result


def _bits(one: Fraction) -> int:
    return max(one.numerator.bit_length(), one.denominator.bit_length())


def holds(sides: Sequence[str]) -> bool:
    """Return whether neighbouring sides are equal, as far as they are written.

    A side written with decimals may be rounded at the last of them (a calculator's 13th digit
    too), and a percent sign may be the unit of both sides ("100 - 60 = 40%").
    """
    for left, right in pairwise(sides):
        a, b = value(left), value(right)
        places = max(_places(left), _places(right))
        per_cent = [100 if re.fullmatch(r"[\d.,\s]+%\s*", side) else 1 for side in (left, right)]
        units = {(1, 1), (per_cent[0], 1), (1, per_cent[1])}
        if not any(_as_written(m * a, n * b, places) for m, n in units):
            return False
    return True


def _as_written(computed: Fraction, written: Fraction, places: int) -> bool:
    slack = max(Fraction(1, 2 * 10**places), abs(computed) / 10**12) if places else 0
    return abs(computed - written) <= slack


def _places(side: str) -> int:
    """Return the decimals of a side that is one number, 0 of any other."""
    decimals = re.fullmatch(r"\s*-?\s*\$?[\d,]*\.(\d+)\s*", side)
    return len(decimals[1]) if decimals else 0


_TERM = rf"[-($ \t]*+(?>{NUMBER})[ \t]*+%?[) \t]*+"
_SIDE = rf"{_TERM}(?:[-+*/^]{{1,2}}{_TERM}){{0,60}}+"
_CHAIN = re.compile(rf"{_SIDE}(?:={_SIDE}){{1,60}}+")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+", re.M)
_REWRITTEN = (
    (re.compile(r"<<[^<>]*>>"), ""),  # a calculator's annotation, as in GSM8K
    (re.compile(r"\b(?:makes|equals)\b", re.I), "="),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=\$?[\d(.])"), " * "),
    (re.compile(r"(?<![\d./])(\d+) (\d+/\d+)"), r"(\1+\2)"),
)


def equations(text: str) -> list[list[str]]:
    """Return every chain "a = b [= c ...]" of numbers and signs in a text, as its sides.

    One of which a part is no number ("3 apples + 5 = 8") is left out.

    >>> equations("so 7 + 5 = 12, and 3 x 4 makes 12")
    [['7 + 5', '12'], ['3 * 4', '12']]
    """
    text = _BULLET.sub("", plain(text))
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


_WORKS = re.compile(r"[\d)%.]\s*[-+*/^(]")


def _balanced(side: str) -> str:
    """Return a side without parentheses that enclose more than it, as in "(7 + 5 = 12)"."""
    while side.count("(") > side.count(")") and "(" in side:
        side = side.replace("(", "", 1)
    while side.count(")") > side.count("("):
        side = side[: side.rindex(")")] + side[side.rindex(")") + 1 :]
    return side.strip(" \t$")
