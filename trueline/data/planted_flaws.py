"""Plant one known flaw in a copy of an answer, to measure whoever judges the pair.

Nobody's labels are needed: Saunders et al. 2022 (2206.05802), CriticGPT's inserted bugs (McAleese
et al. 2024, 2407.00215). `ArithmeticFlaws` takes solutions in free text (lines are its steps); it
changes only a sum "a + b = c" that holds, and leaves the text after it as it was.

>>> from trueline.records import Prompt
>>> answer = Response(prompt=Prompt.of("?"), text="He has 3 * 4 = 12 plums.")
>>> ArithmeticFlaws().inject(answer, rng=np.random.default_rng(2)).response.text
'He has 3 + 4 = 7 plums.'
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from trueline.records import Case, Flaw, Response

__all__ = ["ArithmeticFlaws", "FlawPlanter", "Flawed", "PlantedCase", "plant_flaws"]


@dataclass(frozen=True, kw_only=True)
class Flawed:
    """A flawed copy and what is wrong with it."""

    response: Response
    flaw: Flaw
    also: tuple[Flaw, ...] = ()
    """What else may rightly be named because of the flaw (an answer that no longer follows)."""


class FlawPlanter(Protocol):
    """A source of flaws: a rule on texts, a world's, or a language model."""

    def inject(self, response: Response, *, rng: np.random.Generator) -> Flawed | None:
        """Return a copy with exactly one more flaw; None where none would fit."""


@dataclass(frozen=True, kw_only=True)
class PlantedCase:
    """A case of an answer and its flawed copy; `side` tells where the flaw is, for measuring."""

    case: Case
    flaw: Flaw
    side: int
    also: tuple[Flaw, ...] = ()

    @property
    def clean(self) -> Response:
        """The answer as it was."""
        return self.case.responses[1 - self.side]

    @property
    def flawed(self) -> Response:
        """Its flawed copy."""
        return self.case.responses[self.side]

    def names(self, side: int, flaw: Flaw) -> bool:
        """Return whether this is the planted flaw: kind and step on the right side."""
        return side == self.side and (flaw.kind, flaw.step) == (self.flaw.kind, self.flaw.step)

    def invented(self, side: int, flaw: Flaw) -> bool:
        """Return whether nothing of the kind is there."""
        true = (self.flaw, *self.also) if side == self.side else ()
        return (flaw.kind, flaw.step) not in {(one.kind, one.step) for one in true}


def plant_flaws(
    responses: Sequence[Response], planter: FlawPlanter, *, rng: np.random.Generator
) -> list[PlantedCase]:
    """Put each response beside its flawed copy, the side drawn; leave out those without one."""
    planted = []
    for response, stream in zip(responses, rng.spawn(len(responses)), strict=True):
        flawed, side = planter.inject(response, rng=stream), int(stream.integers(2))
        if flawed is not None:
            case = Case(first=response, second=flawed.response)
            case = case if side else case.mirrored
            planted.append(PlantedCase(case=case, flaw=flawed.flaw, side=side, also=flawed.also))
    return planted


_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SUM = re.compile(rf"(?<![\d.])({_NUMBER})( ?)([-+*/])( ?\$?)({_NUMBER})( ?= ?\$?)({_NUMBER})")
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclass(frozen=True, kw_only=True)
class ArithmeticFlaws:
    """Changes the result or the operator of one sum in a text."""

    operators: float = 0.5
    """Share of flaws that are a wrong operator (the sum then holds, and is not the one asked)."""

    def inject(self, response: Response, *, rng: np.random.Generator) -> Flawed | None:
        """Return a copy with one wrong sum.

        None where no sum holds or can be made wrong, or where notes (<<3*4=12>>) would tell.
        """
        text = response.text
        change = _wrong_operator if rng.random() < self.operators else _wrong_result
        sums = [m for m in _SUM.finditer(text) if "<<" not in text and _come_to(m) == _value(m[7])]
        for i in rng.permutation(len(sums)):
            old = sums[i]
            wrong = change(old, rng)
            if wrong is not None:
                before, after = text[: old.start()], text[old.end() :]
                step = sum(bool(line.strip()) for line in before.split("\n")[:-1])
                return Flawed(
                    response=Response(prompt=response.prompt, text=before + wrong + after),
                    flaw=Flaw(kind="wrong_step", step=step, evidence=old[0]),
                )
        return None


def _value(word: str) -> Fraction:
    return Fraction(word.replace(",", ""))


def _come_to(match: re.Match[str], op: str | None = None) -> Fraction | None:
    """Return what a sum comes to, with another operator if given; None for a division by 0."""
    left, right = _value(match[1]), _value(match[5])
    name = op or match[3]
    return None if name == "/" and not right else Fraction(_APPLY[name](left, right))


def _written(value: Fraction, like: str) -> str:
    if value.denominator != 1:
        return f"{float(value):g}"
    return f"{value.numerator:,}" if "," in like else str(value)


def _wrong_result(old: re.Match[str], rng: np.random.Generator) -> str:
    """Be off by one to three in the last place that is not nought: round numbers stay round."""
    digits, value = old[7].replace(",", ""), _value(old[7])
    places = len(digits.partition(".")[2]) or len(digits.rstrip("0")) - len(digits)
    off = int(rng.integers(1, 4)) * Fraction(10) ** -places
    wrong = value - off if value > off and rng.random() < 0.5 else value + off
    return old[0][: -len(old[7])] + _written(wrong, old[7])


def _wrong_operator(old: re.Match[str], rng: np.random.Generator) -> str | None:
    for op in rng.permutation([op for op in "+-*/" if op != old[3]]):
        value = _come_to(old, str(op))
        if value is not None and value > 0 and value.denominator == 1 and value != _value(old[7]):
            return f"{old[1]}{old[2]}{op}{old[4]}{old[5]}{old[6]}{_written(value, old[7])}"
    return None
