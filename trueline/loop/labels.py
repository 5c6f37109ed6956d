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
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore, Purpose
from trueline.loop.task import Task
from trueline.oversight import PROTOCOLS
from trueline.oversight.critique import WithCritique
from trueline.protocols import Helper, Oversight, Rater
from trueline.records import Case, Critique, Response, Verdict
from trueline.registry import name_of
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["Labels"]

_BLOCK = 48
"""Cases whose critiques are written in one batch."""


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
        rater, helper = self.task.rater_of(round), self.task.helper
        streams = stream(self.seed, "ask", purpose, round).spawn(len(cases))
        # A debater argues by what its critic says; with critiques the helper is the critic.
        own = helper if isinstance(self.protocol, WithCritique) else getattr(helper, "critic", None)
        critic = None if own is None else _BlockCritic(own, cases, (self.seed, purpose, round))
        if critic is not None:
            helper = critic if own is helper else replace(helper, critic=critic)
        for i, (case, rng) in enumerate(zip(cases, streams, strict=True)):
            if critic is not None:
                critic.turn_to(i)
            answer = partial(self._answer, case, helper, rater, rng, purpose, round)
            yield self.task.trunk.workers.once(answer)

    def _answer(
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
        name = name_of(self.protocol, PROTOCOLS) or type(self.protocol).__name__
        return self.store.add(verdict, *case.responses, purpose=purpose, round=round, assist=name)

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
        """Return what a round took, by purpose: labels, judge seconds where they were counted, and
        the protocols by which the labels came about."""
        purposes: tuple[Purpose, ...] = ("learn", "gate")
        rows = self.task.trunk.workers.once(
            lambda: {p: self.store.seconds(p, round=round) for p in purposes}
        )
        seconds = {p: math.fsum(s for _, s in taken) for p, taken in rows.items()}
        return {
            "labels": {p: len(taken) for p, taken in rows.items()},
            "judge_s": {p: round_s for p, round_s in seconds.items() if round_s > 0},
            "protocols": {p: dict(Counter(str(a) for a, _ in r)) for p, r in rows.items()},
        }


class _BlockCritic:
    """A critic whose critiques of cases are written a block at a time, when first needed.

    Blocks do not depend on which cases were judged before, so a resumed run reads the same.
    """

    def __init__(self, critic: Helper, cases: Sequence[Case], key: tuple[int, str, int]) -> None:
        self.critic, self.cases, self.key = critic, cases, key
        self._start = 0
        self._written: dict[int, dict[str, Critique]] = {}

    def turn_to(self, i: int) -> None:
        """Speak of case i from now on."""
        self._start = i - i % _BLOCK

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """Return the critiques written of these responses; those of other texts are asked for."""
        block = self.cases[self._start : self._start + _BLOCK]
        texts = {r.key: r for case in block for r in case.responses}
        if not texts.keys() >= {r.key for r in responses}:
            return self.critic.critique(responses, rng=rng)
        if self._start not in self._written:
            seed, purpose, round = self.key
            rng = stream(seed, "critique", purpose, round, self._start)
            critiques = self.critic.critique(list(texts.values()), rng=rng)
            self._written[self._start] = {c.response.key: c for c in critiques}
        return [self._written[self._start][r.key] for r in responses]
