"""Where cases are put before the rater, through a protocol, and the answers kept.

Every answer of a rater is in the store before anything is done with it. An answer that is already
there (the run was killed after it was given) is taken from the store: nobody is asked twice. Each
case has a random stream of its own, so what is asked of the others changes nothing for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, get_args

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore, Purpose
from trueline.loop.allocator import Allocator
from trueline.loop.task import Task
from trueline.oversight.direct import Direct
from trueline.protocols import Oversight
from trueline.records import Case, Critique, Response, Verdict
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["Choice", "Desk", "Notes", "every_item"]

_BLOCK = 48
"""Cases whose critiques are written in one batch."""

Choice: TypeAlias = Callable[[int, Sequence[Critique]], bool]
"""Whether case i, of which the critic says this, is judged with help."""


def every_item(_: int, __: Sequence[Critique]) -> bool:
    """Help with each."""
    return True


@dataclass(frozen=True)
class _Prepared:
    """A helper whose critiques were written before."""

    critiques: dict[str, Critique]

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        return [self.critiques[r.key] for r in responses]


@dataclass(frozen=True)
class Notes:
    """What the critic says of cases, written block by block when first asked for. Blocks do not
    depend on which cases were judged before, so that a resumed run reads the same."""

    task: Task
    cases: Sequence[Case]
    rng: Callable[[int], np.random.Generator]
    """Of the block that begins with case i."""
    _written: dict[int, _Prepared] = field(default_factory=dict)

    def helper(self, i: int) -> _Prepared | None:
        """The critic as it speaks of case i; None without one."""
        if self.task.helper is None:
            return None
        start = i - i % _BLOCK
        if start not in self._written:
            block = self.cases[start : start + _BLOCK]
            texts = list({r.key: r for case in block for r in case.responses}.values())
            critiques = self.task.helper.critique(texts, rng=self.rng(start))
            self._written[start] = _Prepared({c.response.key: c for c in critiques})
        return self._written[start]

    def of(self, i: int) -> list[Critique]:
        """One critique of each answer of case i; none without a critic."""
        said = self.helper(i)
        return [] if said is None else [said.critiques[r.key] for r in self.cases[i].responses]


@dataclass(frozen=True)
class Desk:
    """The store, the protocol and the people."""

    folder: RunFolder
    task: Task
    protocol: Oversight
    seed: int

    @cached_property
    def store(self) -> LabelStore:
        """Opened when first asked for, by the main process alone."""
        return LabelStore(self.folder.folder / "labels.sqlite")

    @property
    def assists(self) -> bool:
        return not isinstance(self.protocol, Direct)

    def notes(self, cases: Sequence[Case], purpose: Purpose, round: int) -> Notes:
        """The critic's word on cases that are to be judged."""
        return Notes(self.task, cases, lambda i: stream(self.seed, "critique", purpose, round, i))

    def ask(
        self,
        cases: Sequence[Case],
        *,
        purpose: Purpose,
        round: int,
        choice: Choice = every_item,
        notes: Notes | None = None,
    ) -> Iterator[tuple[Case, Verdict]]:
        """Judge the cases one by one, in order; stop iterating and no more are asked. Of several
        processes the main one asks."""
        notes = notes or self.notes(cases, purpose, round)
        streams = stream(self.seed, "ask", purpose, round).spawn(len(cases))
        rater = self.task.rater(round)
        for i, (case, rng) in enumerate(zip(cases, streams, strict=True)):
            verdict = self.store.find(*case.responses, purpose=purpose, round=round)
            if verdict is None:
                helped = self.assists and choice(i, notes.of(i))
                protocol = self.protocol if helped else Direct()
                helper = self.task.speaker(notes.helper(i)) if helped else None
                verdict = protocol.judge(case, helper=helper, judge=rater, rng=rng)
                name = type(protocol).__name__.lower()
                self.store.add(verdict, *case.responses, purpose=purpose, round=round, assist=name)
            yield case, verdict

    def learned(self, round: int) -> tuple[Comparisons, Comparisons]:
        """All comparisons to learn from after that round, and those that the round itself gave;
        the undecided teach no direction."""
        asked = self.task.trunk.workers.once(
            lambda: self.store.comparisons(purpose="learn", last_round=round).rows
        )
        new = tuple(c for c in asked if c.round == round)
        return Comparisons((*self.task.comparisons, *asked)), Comparisons(new)

    def account(self, round: int, allocator: Allocator | None) -> dict[str, Any]:
        """Of a round, by purpose: labels, judge seconds where all are counted, and by which
        protocol the labels came about; and what controls taught (None: help was not weighed)."""
        rows = self.task.trunk.workers.once(
            lambda: {p: self.store.seconds(p, round=round) for p in get_args(Purpose)}
        )
        rows = {p: found for p, found in rows.items() if found or p != "control"}
        known = {p: [s for _, s in found if s is not None] for p, found in rows.items()}
        seconds = {p: math.fsum(s) for p, s in known.items() if len(s) == len(rows[p])}
        return {
            "labels": {p: len(found) for p, found in rows.items()},
            "judge_s": {p: round_s for p, round_s in seconds.items() if round_s > 0},
            "protocols": {p: dict(Counter(str(a) for a, _ in r)) for p, r in rows.items()},
            "allocator": None if allocator is None else allocator.record(),
        }
