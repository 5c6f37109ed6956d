"""Recursive reward modelling: who judges long answers is helped by rewards for parts half as long.

    level 0    learned from judgements of single pieces, made unaided
    level k    learned from judgements of runs of 2^k pieces, helped by levels k-1 .. 0
    helped     draw a run of 2^d pieces (all, if there are no more), halve it until one is left, and
               tell the judge to look there; of halves of up to 2^k pieces level k names the worse

so that at depth d a judge who can check one piece sees the only flaw among n with probability
min(1, 2^d / n) q_0 .. q_{d-1}, for d questions an answer, if level k points right with probability
q_k: a level pays while q_k > 1/2. Leike et al. 2018 (arXiv 1811.07871); Christiano et al. 2018
(1810.08575); kin in halving down to the first error: Luo et al. 2024 (2406.06592).

Where we differ: (1) nobody is trained by reinforcement: a level is a reward on parts, and its one
act is to say which half is worth less; (2) it only directs the look: the verdict is the judge's;
(3) a part is judged with what was written before it as given, so an error counts where it was made
and not where it is carried on; (4) each level has a budget of labels, and undecided judgements
spend it; (5) where a helper says nothing usable, that is recorded and the half is drawn.

It fails where a flaw lies in no part (between them, or in what is missing).

>>> from trueline.records import Prompt
>>> text = Response(prompt=Prompt.of("?"), text="It is so. It was so. Is it?")
>>> Sentences().count(text), Sentences().part(text, 1, 3).text
(3, 'It was so. Is it?')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np

from trueline.errors import InputError
from trueline.oversight.transcript import UNLIMITED, Transcript, needs
from trueline.protocols import Helper, Rater
from trueline.records import Case, Comparison, Cost, Critique, Flaw, Preference, Response, Verdict

__all__ = [
    "Division",
    "Draw",
    "Judged",
    "Learn",
    "Pointer",
    "Raised",
    "Recursive",
    "Score",
    "Sentences",
    "Stack",
    "judge_parts",
    "raise_helpers",
]

Score: TypeAlias = Callable[[Sequence[Response]], Sequence[float]]
"""How good each part is; only the order matters."""
Learn: TypeAlias = Callable[[Sequence[Comparison], np.random.Generator], Helper]
"""What is made of judged parts: a `Pointer` by a reward fitted on them, or any helper."""
Draw: TypeAlias = Callable[[int, int, np.random.Generator], Sequence[Case]]
"""Cases of so many pieces, so many of them."""


class Division(Protocol):
    """How an answer falls into pieces; a run of pieces is an answer of its own."""

    def count(self, response: Response) -> int:
        """How many pieces there are, at least 1."""
        ...

    def part(self, response: Response, start: int, stop: int) -> Response:
        """Pieces start to stop as an answer to what they answer."""
        ...


@dataclass(frozen=True)
class Sentences:
    """Any text: its lines and sentences, each still answering the whole prompt."""

    def count(self, response: Response) -> int:
        return max(1, len(self._pieces(response)))

    def part(self, response: Response, start: int, stop: int) -> Response:
        text = " ".join(self._pieces(response)[start:stop])
        return Response(prompt=response.prompt, text=text)

    def _pieces(self, response: Response) -> list[str]:
        return [x for x in re.split(r"(?<=[.!?])\s+|\s*\n\s*", response.text.strip()) if x]


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """One level: says in which half of an answer the worse part lies."""

    score: Score
    division: Division
    name: str = "pointer"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """One suspect an answer, the first piece of its worse half; a single piece has none."""
        halved = [(r, n, _middle(0, n)) for r in responses for n in (self.division.count(r),)]
        bounds = [
            (r, at, to) for r, n, middle in halved for at, to in ((0, middle), (middle, n)) if n > 1
        ]
        values = iter(self.score([self.division.part(*bound) for bound in bounds]))
        said = []
        for response, n, middle in halved:
            flaws: tuple[Flaw, ...] = ()
            if n > 1:
                first, second = next(values), next(values)
                worse = rng.random() < 0.5 if first == second else second < first
                flaws = (Flaw(kind="suspect", step=middle if worse else 0),)
            text = f"worse from {flaws[0].step}" if flaws else "one piece"
            said.append(Critique(response=response, text=text, flaws=flaws, helper=self.name))
        return said


@dataclass(frozen=True)
class Stack:
    """Helpers by level: `levels[k]` compares parts of at most 2^k pieces."""

    levels: tuple[Helper, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recursive:
    """The judge looks where a descent by halves ends, helped at the lowest `depth` levels."""

    depth: int = 3
    """Levels that help; 0 is unaided judging."""
    division: Division = Sentences()
    """How an answer falls into pieces."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise InputError("depth must be 0 or more", got=str(self.depth))

    def judge(
        self,
        case: Case,
        *,
        helper: Stack | Helper | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict; a plain helper serves at every level, a stack must have enough of them."""
        ledger = Transcript(case, judge, rng, self.limit)
        if self.depth:
            levels = self._levels(helper)
            descents = [_Descent(self, ledger, levels, rng).of(r) for r in case.responses]
            ledger.show([found for found in descents if found is not None])
        return ledger.conclude()

    def _levels(self, helper: Stack | Helper | None) -> tuple[Helper, ...]:
        if not isinstance(helper, Stack):
            return (needs(helper, "critique", "recursive"),) * self.depth
        if len(helper.levels) < self.depth:
            raise InputError(
                f"depth {self.depth} needs a helper raised for each of its levels",
                got=f"{len(helper.levels)} levels",
                do="raise more levels, or judge at a lower depth",
            )
        return helper.levels


@dataclass(frozen=True)
class _Descent:
    """The way down through one answer."""

    protocol: Recursive
    ledger: Transcript
    levels: Sequence[Helper]
    rng: np.random.Generator

    def of(self, response: Response) -> Critique | None:
        """Where the judge should look; None where no helper was asked."""
        division, depth = self.protocol.division, self.protocol.depth
        count = division.count(response)
        size = min(count, 2**depth)
        # Runs side by side: every piece is as likely to be in the one that is drawn.
        start = min(int(self.rng.integers(count)) // size * size, count - size)
        stop = start + size
        asked: list[Critique] = []
        pointed, path = False, []
        while stop - start > 1:
            middle, at = _middle(start, stop), None
            if self.ledger.affords(1):
                level = (middle - start - 1).bit_length()
                part = division.part(response, start, stop)
                asked += self.ledger.criticise(self.levels[level], [part], round=level)
                at = _named(asked[-1], stop - start)
            pointed |= at is not None
            path.append(f"{start + 1}-{stop}{'' if at is not None else '?'}")
            piece = start + (int(self.rng.integers(stop - start)) if at is None else at)
            start, stop = (start, middle) if piece < middle else (middle, stop)
        if not asked:
            return None
        unread = [c for c in asked if c.flaws is None]
        problem = (unread[0].problem or "words that could not be read") if unread else None
        where = f"{' '.join(path)} : {start + 1} : {division.part(response, start, stop).text}"
        return replace(
            asked[-1],
            response=response,
            text=where if pointed else "no part named",
            flaws=(Flaw(kind="suspect", step=start),) if pointed else None if unread else (),
            problem=problem,
        )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one level learned from."""

    comparisons: tuple[Comparison, ...]
    num_asked: int
    """Labels spent; the undecided taught nothing."""
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Raised:
    """A stack, and what raising each of its levels took."""

    helper: Stack
    levels: tuple[Judged, ...]

    @property
    def cost(self) -> Cost:
        return sum((level.cost for level in self.levels), Cost())


def raise_helpers(
    *,
    draw: Draw,
    learn: Learn,
    judge: Rater,
    labels: Sequence[int],
    division: Division,
    rng: np.random.Generator,
) -> Raised:
    """One level after another, from small parts to large: `labels[k]` judgements of parts of 2^k
    pieces, made with the help of the levels below, teach level k."""
    helpers: tuple[Helper, ...] = ()
    levels: tuple[Judged, ...] = ()
    for k, budget in enumerate(labels):
        drawing, judging, learning = rng.spawn(3)
        cases, protocol = draw(2**k, budget, drawing), Recursive(depth=k, division=division)
        helper = Stack(helpers)
        judged = judge_parts(cases[:budget], protocol, helper=helper, judge=judge, rng=judging)
        helpers += (learn(judged.comparisons, learning),)
        levels += (judged,)
    return Raised(helper=Stack(helpers), levels=levels)


def judge_parts(
    cases: Sequence[Case],
    protocol: Recursive,
    *,
    helper: Stack,
    judge: Rater,
    rng: np.random.Generator,
) -> Judged:
    """Judge every case once, bare of what stands around its pieces, each by its own stream."""
    division, comparisons, cost = protocol.division, [], Cost()
    for whole, own in zip(cases, rng.spawn(len(cases)), strict=True):
        bare = [division.part(r, 0, division.count(r)) for r in whole.responses]
        case = Case(first=bare[0], second=bare[1])
        verdict = protocol.judge(case, helper=helper, judge=judge, rng=own)
        cost += verdict.cost
        if verdict.preference is not Preference.UNDECIDED:
            first_wins = verdict.preference is Preference.FIRST
            chosen, rejected = case.responses if first_wins else case.mirrored.responses
            comparisons.append(Comparison(chosen=chosen, rejected=rejected, rater=verdict.rater))
    return Judged(comparisons=tuple(comparisons), num_asked=len(cases), cost=cost)


def _middle(start: int, stop: int) -> int:
    """Where the first half ends; it is the longer one of an odd number."""
    return start + (stop - start + 1) // 2


def _named(critique: Critique, count: int) -> int | None:
    """The first piece a critique names among `count`."""
    steps = (flaw.step for flaw in critique.flaws or ())
    return next((step for step in steps if step is not None and 0 <= step < count), None)
