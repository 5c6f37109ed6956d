"""Asking raters through a protocol, and keeping what they answer.

Every answer is in the store before anything is done with it. An answer that is already there (the
run was killed after it was given) is taken from the store: nobody is asked twice. Each case has a
random stream of its own, so what is asked of the others changes nothing for it. Of several
processes the main one asks, and all get the answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore, Purpose
from trueline.loop.task import Task
from trueline.oversight.critique import WithCritique
from trueline.protocols import Helper, Oversight, Rater
from trueline.records import Case, Critique, Response, Verdict
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["Labels"]

_BLOCK = 48
"""Cases whose critiques are written in one batch."""
_PURPOSES: tuple[Purpose, ...] = ("learn", "gate")


@dataclass(frozen=True)
class Labels:
    """The store, the protocol and the raters of a run."""

    folder: RunFolder
    task: Task
    protocol: Oversight
    seed: int

    @cached_property
    def store(self) -> LabelStore:
        """The run's label store, opened when first asked for, by the main process alone."""
        return LabelStore(self.folder.folder / "labels.sqlite")

    def ask(self, cases: Sequence[Case], *, purpose: Purpose, round: int) -> Iterator[Verdict]:
        """Yield one verdict a case, in order; stop iterating and no more are asked."""
        streams = stream(self.seed, "ask", purpose, round).spawn(len(cases))
        rater = self.task.rater_of(round)
        critic = self._critic()
        written = None if critic is None else _Written(critic, cases, self.seed, purpose, round)
        for i, (case, rng) in enumerate(zip(cases, streams, strict=True)):
            helper = self.task.helper
            if written is not None:
                own = _OfCase(written, i)
                # A debater argues by what its critic says; other protocols ask the critic itself.
                helper = replace(helper, critic=own) if hasattr(helper, "critic") else own
            judge = partial(self._verdict, case, helper, rater, rng, purpose, round)
            yield self.task.trunk.workers.once(judge)

    def _verdict(
        self,
        case: Case,
        helper: Any,
        rater: Rater,
        rng: np.random.Generator,
        purpose: Purpose,
        round: int,
    ) -> Verdict:
        """Return the verdict on record, or ask for one and store it."""
        kept = self.store.find(*case.responses, purpose=purpose, round=round)
        if kept is not None:
            return kept
        verdict = self.protocol.judge(case, helper=helper, judge=rater, rng=rng)
        name = type(self.protocol).__name__.lower()
        return self.store.add(verdict, *case.responses, purpose=purpose, round=round, assist=name)

    def _critic(self) -> Helper | None:
        """Return who criticises whole answers, whose critiques can be written in batches."""
        helper = self.task.helper
        if isinstance(self.protocol, WithCritique):
            return helper  # type: ignore[no-any-return]
        return getattr(helper, "critic", None)

    def learned(self, round: int) -> tuple[Comparisons, Comparisons]:
        """Return all comparisons to learn from after that round, and those the round itself gave.

        The undecided teach no direction and are left out.
        """
        asked = self.task.trunk.workers.once(
            lambda: self.store.comparisons(purpose="learn", last_round=round).rows
        )
        new = tuple(c for c in asked if c.round == round)
        return Comparisons((*self.task.comparisons, *asked)), Comparisons(new)

    def account(self, round: int) -> dict[str, Any]:
        """Return what a round took, by purpose: labels, judge seconds where all are counted, and
        the protocols by which the labels came about."""
        rows = self.task.trunk.workers.once(
            lambda: {p: self.store.seconds(p, round=round) for p in _PURPOSES}
        )
        known = {p: [s for _, s in of_p if s is not None] for p, of_p in rows.items()}
        seconds = {p: math.fsum(s) for p, s in known.items() if len(s) == len(rows[p])}
        return {
            "labels": {p: len(of_p) for p, of_p in rows.items()},
            "judge_s": {p: round_s for p, round_s in seconds.items() if round_s > 0},
            "protocols": {p: dict(Counter(str(a) for a, _ in r)) for p, r in rows.items()},
        }


@dataclass(frozen=True)
class _Written:
    """A critic's word on the answers of cases, written a block at a time when first needed.

    Blocks do not depend on which cases were judged before, so a resumed run reads the same.
    """

    critic: Helper
    cases: Sequence[Case]
    seed: int
    purpose: str
    round: int
    blocks: dict[int, dict[str, Critique]] = field(default_factory=dict)

    def of_block(self, i: int) -> dict[str, Critique]:
        """Return the critiques, by response, of the block that case i lies in."""
        start = i - i % _BLOCK
        if start not in self.blocks:
            block = self.cases[start : start + _BLOCK]
            responses = list({r.key: r for case in block for r in case.responses}.values())
            rng = stream(self.seed, "critique", self.purpose, self.round, start)
            critiques = self.critic.critique(responses, rng=rng)
            self.blocks[start] = {c.response.key: c for c in critiques}
        return self.blocks[start]


@dataclass(frozen=True)
class _OfCase:
    """The critic as it speaks of one case: the first critique of an answer is the one written in
    its block, a further one is asked for anew."""

    written: _Written
    i: int
    used: set[str] = field(default_factory=set)

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        own = {r.key for r in self.written.cases[self.i].responses} - self.used
        if not own.issuperset(r.key for r in responses):
            return self.written.critic.critique(responses, rng=rng)
        self.used.update(r.key for r in responses)
        block = self.written.of_block(self.i)
        return [block[r.key] for r in responses]
