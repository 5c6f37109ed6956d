"""Targeted perturbations: a copy of an answer with one known flaw, by rule or by a model.

    planted = (answer, its spoiled copy, the flaw, and what else became untrue through it)

Whoever judges such a pair is measured without anybody's labels: Saunders et al. 2022 (2206.05802),
CriticGPT's inserted bugs (McAleese et al. 2024, 2407.00215). `FlawPlanter` is all that is asked of
a source of flaws; `worlds.sums.flaws` has that of worked sums, `ArithmeticFlaws` takes solutions in
free text (lines are its steps), `oversight.rewriter` asks a language model.

Where `ArithmeticFlaws` differs from an editor: (1) it changes only a sum "a + b = c" that holds;
(2) carried on, every later mention of a changed number changes too, and each later sum of it is
worked out again, so that a number of the question that happens to be equal is changed with it.

>>> from trueline.records import Prompt
>>> answer = Response(prompt=Prompt.of("?"), text="He has 3 * 4 = 12, then 12 + 1 = 13 plums.")
>>> ArithmeticFlaws().inject(answer, rng=np.random.default_rng(2)).response.text
'He has 3 * 4 = 12, then 12 - 1 = 11 plums.'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Protocol

import numpy as np

from trueline.records import Case, Flaw, Response

__all__ = ["ArithmeticFlaws", "FlawPlanter", "Flawed", "PlantedCase", "plant_flaws"]


@dataclass(frozen=True, kw_only=True)
class Flawed:
    """A spoiled copy and what is wrong with it."""

    response: Response
    """Its `num_tokens` are what a model wrote for it."""
    flaw: Flaw
    also: tuple[Flaw, ...] = ()
    """What else may rightly be named because of the flaw (an answer that no longer follows)."""


class FlawPlanter(Protocol):
    """Plants exactly one flaw."""

    def inject(self, response: Response, *, rng: np.random.Generator) -> Flawed | None:
        """A copy with one more flaw; None where it knows of none that would fit."""
        ...


@dataclass(frozen=True, kw_only=True)
class PlantedCase:
    """A case of an answer and its spoiled copy; `side` tells where the flaw is, for measuring."""

    case: Case
    flaw: Flaw
    side: int
    also: tuple[Flaw, ...] = ()

    @property
    def clean(self) -> Response:
        return self.case.responses[1 - self.side]

    @property
    def flawed(self) -> Response:
        return self.case.responses[self.side]

    def names(self, side: int, flaw: Flaw) -> bool:
        """Whether this is the planted flaw: kind and step on the right side."""
        return side == self.side and _same(flaw, self.flaw)

    def invented(self, side: int, flaw: Flaw) -> bool:
        """Whether nothing of the kind is there."""
        true = (self.flaw, *self.also) if side == self.side else ()
        return not any(_same(flaw, one) for one in true)


def plant_flaws(
    responses: Sequence[Response], spoiler: FlawPlanter, *, rng: np.random.Generator
) -> list[PlantedCase]:
    """Each response beside its spoiled copy, the side drawn; those it cannot spoil are left out."""
    planted = []
    for response, stream in zip(responses, rng.spawn(len(responses)), strict=True):
        spoiled, side = spoiler.inject(response, rng=stream), int(stream.integers(2))
        if spoiled is not None:
            case = Case(first=response, second=spoiled.response)
            case = case if side else case.mirrored
            planted.append(PlantedCase(case=case, flaw=spoiled.flaw, side=side, also=spoiled.also))
    return planted


_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SUM = re.compile(rf"(?<![\d.])({_NUMBER})( ?)([-+*/])( ?\$?)({_NUMBER})( ?= ?\$?)({_NUMBER})")
_TOKEN = re.compile(rf"{_SUM.pattern}|{_NUMBER}")


@dataclass(frozen=True, kw_only=True)
class ArithmeticFlaws:
    """Changes the result or the operator of one sum in a text, and the text after it or not."""

    operators: float = 0.5
    """Share of flaws that are a wrong operator (the sum then holds, and is not the one asked)."""
    carried: float = 0.5
    """Share of flaws from which the text goes on consistently."""

    def inject(self, response: Response, *, rng: np.random.Generator) -> Flawed | None:
        """None where no sum holds or can be made wrong, or notes (<<3*4=12>>) would tell."""
        text = response.text
        sums = [found for found in _SUM.finditer(text) if _holds(found) and "<<" not in text]
        kind, carried = rng.random() < self.operators, rng.random() < self.carried
        for i in rng.permutation(len(sums)):
            old = sums[i]
            wrong = _wrong_operator(old, rng) if kind else _wrong_result(old, rng)
            if wrong is None:
                continue
            line, value = wrong
            changed = {_value(old[7]): value}
            rest = text[old.end() :]
            rest = _TOKEN.sub(partial(_carry, changed), rest) if carried else rest
            if any(new.denominator > was.denominator for was, new in changed.items()):
                continue  # a new fraction would show where to look
            step = sum(bool(part.strip()) for part in text[: old.start()].split("\n")[:-1])
            return Flawed(
                response=Response(prompt=response.prompt, text=text[: old.start()] + line + rest),
                flaw=Flaw(kind="wrong_step", step=step, evidence=old[0]),
            )
        return None


def _value(word: str) -> Fraction:
    return Fraction(word.replace(",", ""))


def _apply(a: Fraction, op: str, b: Fraction) -> Fraction | None:
    if op == "/":
        return a / b if b else None
    return a + b if op == "+" else a - b if op == "-" else a * b


def _holds(found: re.Match[str]) -> bool:
    return _apply(_value(found[1]), found[3], _value(found[5])) == _value(found[7])


def _written(value: Fraction, like: str) -> str:
    if value.denominator != 1:
        return f"{float(value):g}"
    return f"{value.numerator:,}" if "," in like else str(value)


def _wrong_result(old: re.Match[str], rng: np.random.Generator) -> tuple[str, Fraction] | None:
    """Off by one, two or three in its last place that is not nought: round numbers stay round."""
    digits = old[7].replace(",", "")
    places = len(digits.partition(".")[2]) or len(digits.rstrip("0")) - len(digits)
    off = int(rng.integers(1, 4)) * Fraction(10) ** -places
    low = _value(old[7]) - off
    value = low if low > 0 and rng.random() < 0.5 else _value(old[7]) + off
    return old[0][: -len(old[7])] + _written(value, old[7]), value


def _wrong_operator(old: re.Match[str], rng: np.random.Generator) -> tuple[str, Fraction] | None:
    for op in rng.permutation([op for op in "+-*/" if op != old[3]]):
        value = _apply(_value(old[1]), str(op), _value(old[5]))
        if value is not None and value > 0 and value.denominator == 1 and value != _value(old[7]):
            sides = f"{old[1]}{old[2]}{op}{old[4]}{old[5]}{old[6]}"
            return sides + _written(value, old[7]), value
    return None


def _carry(changed: dict[Fraction, Fraction], found: re.Match[str]) -> str:
    """What a later sum or number becomes; what a sum newly comes to is entered in `changed`."""
    if found[7] is None:
        value = _value(found[0])
        return _written(changed[value], found[0]) if value in changed else found[0]
    a, b = (changed.get(_value(found[i]), _value(found[i])) for i in (1, 5))
    old, new = _value(found[7]), _apply(a, found[3], b)
    if not _holds(found) or new is None or new < 0:
        new = changed.get(old, old)
    elif new != old:
        changed[old] = new
    left, right = _written(a, found[1]), _written(b, found[5])
    result = _written(new, found[7]) if new != old else found[7]
    return f"{left}{found[2]}{found[3]}{found[4]}{right}{found[6]}{result}"


def _same(one: Flaw, other: Flaw) -> bool:
    return (one.kind, one.step) == (other.kind, other.step)
