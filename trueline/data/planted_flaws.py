"""Plant one known flaw in a copy of an answer, to measure whoever judges the pair.

Nobody's labels are needed: Saunders et al. 2022 (2206.05802), CriticGPT's inserted bugs (McAleese
et al. 2024, 2407.00215). `ArithmeticFlaws` takes solutions in free text (lines are its steps); it
changes only the result of a sum "a + b = c" that holds, and leaves the text after it as it was.

>>> import numpy as np
>>> from trueline.records import Prompt
>>> answer = Response(prompt=Prompt.of("?"), text="He has 3 * 4 = 12 plums.")
>>> ArithmeticFlaws().inject(answer, rng=np.random.default_rng(2)).response.text
'He has 3 * 4 = 9 plums.'
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trueline.records import Case, Flaw, Response
from trueline.rng import Rng

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

    def inject(self, response: Response, *, rng: Rng) -> Flawed | None:
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
    responses: Sequence[Response], planter: FlawPlanter, *, rng: Rng
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
_SUM = re.compile(rf"(?<![\d.])({_NUMBER}) ?([-+*/]) ?\$?({_NUMBER}) ?= ?\$?({_NUMBER})")
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclass(frozen=True, kw_only=True)
class ArithmeticFlaws:
    """Changes the result of one sum in a text."""

    def inject(self, response: Response, *, rng: Rng) -> Flawed | None:
        """Return a copy with one wrong sum.

        None where no sum holds, or where notes (<<3*4=12>>) would tell.
        """
        text = response.text
        sums = [old for old in _SUM.finditer(text) if "<<" not in text and _holds(old)]
        if not sums:
            return None
        old = sums[rng.integers(len(sums))]
        before = text[: old.start(4)]
        step = sum(bool(line.strip()) for line in before.split("\n")[:-1])
        wrong = before + _wrong(old[4], rng) + text[old.end() :]
        return Flawed(
            response=Response(prompt=response.prompt, text=wrong),
            flaw=Flaw(kind="wrong_step", step=step, evidence=old[0]),
        )


def _value(word: str) -> Decimal:
    return Decimal(word.replace(",", ""))


def _holds(found: re.Match[str]) -> bool:
    left, right, result = (_value(found[i]) for i in (1, 3, 4))
    return (found[2] != "/" or right != 0) and _APPLY[found[2]](left, right) == result


def _wrong(written: str, rng: Rng) -> str:
    """Be off by one to three in the last place that is not nought: round numbers stay round."""
    value = _value(written)
    off = int(rng.integers(1, 4)) * Decimal(10) ** int(value.normalize().as_tuple().exponent)
    wrong = value - off if value > off and rng.random() < 0.5 else value + off
    return f"{wrong:,f}" if "," in written else f"{wrong:f}"
