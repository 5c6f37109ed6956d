"""Recursive reward modelling: whoever judges a long answer is helped by rewards for its parts.

    level 0    learned from judgements of single pieces, made unaided
    level k    learned from judgements of runs of 2^k pieces, helped by levels k-1 .. 0
    judging    draw a run of 2^d pieces (all, if there are no more), halve it until one is left, and
               tell the judge to look there; of halves of up to 2^k pieces level k names the worse

so that at depth d a judge who can check one piece sees the only flaw among n with probability
min(1, 2^d / n) q_0 .. q_{d-1}, for d questions an answer, if level k is right with probability
q_k: a level pays while q_k > 1/2. Leike et al. 2018 (arXiv 1811.07871); Christiano et al. 2018
(1810.08575); related in halving down to the first error: Luo et al. 2024 (2406.06592).

Where we differ: (1) a level is a reward on parts, not a trained agent, and only says which half is
worth less: the verdict is the judge's; (2) a part is judged with what was written before it as
given, so an error counts where it was made; (3) where a helper says nothing usable, that is
recorded and the half is drawn. Fails where a flaw lies in no part.

>>> from trueline.records import Prompt
>>> text = Response(prompt=Prompt.of("?"), text="It is so. It was so. Is it?")
>>> Sentences().count(text), Sentences().part(text, 1, 3).text
(3, 'It was so. Is it?')
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from trueline.errors import InputError
from trueline.oversight.transcript import Limited, Transcript, require
from trueline.protocols import Helper, Rater
from trueline.records import Case, Critique, Flaw, Response, Verdict
from trueline.rng import Rng

__all__ = ["Division", "HelperLevels", "Recursive", "Sentences", "middle_of"]


class Division(Protocol):
    """How an answer falls into pieces; a run of pieces is an answer of its own."""

    def count(self, response: Response) -> int:
        """Return how many pieces there are, at least 1."""
        ...

    def part(self, response: Response, start: int, stop: int) -> Response:
        """Return pieces start to stop as an answer to what they answer."""
        ...


class Sentences:
    """Divide any text into sentences and lines; each part still answers the whole prompt."""

    def count(self, response: Response) -> int:
        return max(1, len(self._pieces(response)))

    def part(self, response: Response, start: int, stop: int) -> Response:
        text = " ".join(self._pieces(response)[start:stop])
        return Response(prompt=response.prompt, text=text)

    def _pieces(self, response: Response) -> list[str]:
        lines = (line.strip() for line in response.text.split("\n"))
        return [p for line in lines for p in re.split(r"(?<=[.!?])\s+", line) if p]


@dataclass(frozen=True, kw_only=True)
class HelperLevels:
    """Helpers by level: `levels[k]` compares parts of at most 2^k pieces."""

    levels: tuple[Helper, ...] = ()
    division: Division
    """How the answers fall into pieces that these helpers learned to compare."""


@dataclass(frozen=True, kw_only=True)
class Recursive(Limited):
    """Halve an answer `depth` times, helped at each level, and let the judge look where that ends.

    A plain helper serves at every level; `HelperLevels` must have enough of them. Where the helper
    has no division of its own, answers fall into sentences and lines.
    """

    depth: int = 3
    """Levels that help; 0 is unaided judging."""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise InputError("depth must be 0 or more", got=str(self.depth))

    def judge(
        self, case: Case, *, helper: HelperLevels | Helper | None = None, judge: Rater, rng: Rng
    ) -> Verdict:
        """Return one verdict, given where the helpers' bisections of both answers end."""
        transcript = Transcript(case, judge, rng, self.limit)
        if self.depth:
            levels = self._levels(helper)
            division = getattr(helper, "division", None) or Sentences()
            critiques = [
                self._bisect(response, transcript, levels, division, rng)
                for response in case.responses
            ]
            transcript.show([critique for critique in critiques if critique is not None])
        return transcript.conclude()

    def _levels(self, helper: HelperLevels | Helper | None) -> tuple[Helper, ...]:
        if not isinstance(helper, HelperLevels):
            return (require(helper, "critique", "recursive"),) * self.depth
        if len(helper.levels) < self.depth:
            raise InputError(
                f"depth {self.depth} needs a helper raised for each of its levels",
                got=f"{len(helper.levels)} levels",
                do="raise more levels, or judge at a lower depth",
            )
        return helper.levels

    def _bisect(
        self,
        response: Response,
        transcript: Transcript,
        levels: Sequence[Helper],
        division: Division,
        rng: Rng,
    ) -> Critique | None:
        """Return where in an answer the judge should look; None where no helper was asked."""
        count = division.count(response)
        size = min(count, 2**self.depth)
        # Runs lie side by side, the last one moved in: every piece is as likely to be drawn.
        start = min(int(rng.integers(count)) // size * size, count - size)
        stop = start + size
        critiques: list[Critique] = []
        path, named = [], False
        while stop - start > 1:
            middle, piece = middle_of(start, stop), None
            if transcript.can_afford(1):
                # Level k is asked about halves of at most 2^k pieces.
                level = (middle - start - 1).bit_length()
                part = division.part(response, start, stop)
                critiques += transcript.criticise(levels[level], [part], round=level)
                piece = _first_named(critiques[-1], stop - start)
            path.append(f"{start + 1}-{stop}{'?' if piece is None else ''}")
            named |= piece is not None
            at = start + (int(rng.integers(stop - start)) if piece is None else piece)
            start, stop = (start, middle) if at < middle else (middle, stop)
        if not critiques:
            return None
        unread = [critique for critique in critiques if critique.flaws is None]
        where = f"{' '.join(path)} : {start + 1} : {division.part(response, start, stop).text}"
        suspect = (Flaw(kind="suspect", step=start),)
        return replace(
            critiques[-1],
            response=response,
            text=where if named else "no part named",
            flaws=suspect if named else None if unread else (),
            problem=(unread[0].problem or "words that could not be read") if unread else None,
        )


def middle_of(start: int, stop: int) -> int:
    """Return where the first half ends; it is the longer one of an odd number."""
    return start + (stop - start + 1) // 2


def _first_named(critique: Critique, count: int) -> int | None:
    steps = (flaw.step for flaw in critique.flaws or ())
    return next((step for step in steps if step is not None and 0 <= step < count), None)
