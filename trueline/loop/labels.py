"""Ask raters through a protocol, within one budget, and keep what they answer.

Every answer is in the store before anything is done with it, and one that is already there (the run
was killed after it was given) is taken from there: nobody is asked twice. Each case has a random
stream of its own. Of several processes the main one asks, and all get the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NoReturn

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore, Purpose
from trueline.errors import BudgetSpent, InputError, InvalidExperiment
from trueline.loop.task import Task
from trueline.oversight.critique import WithCritique
from trueline.progress import track
from trueline.protocols import Helper, Oversight, Rater
from trueline.records import Case, Critique, Response, Verdict
from trueline.rng import Rng, stream
from trueline.runs import RunFolder

__all__ = ["Budget", "Labels", "Spending"]

_BLOCK = 48
"""Cases whose critiques are written in one batch."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a run may spend, and on what."""

    rounds: int = 4
    """How often the loop goes round."""
    labels: int = 2000
    """The whole budget: what the reward learns from and what the gates certify with."""
    gate_frac: float = 0.2
    """Share of the labels kept for the gates; at 1 the reward must learn nothing (rules)."""
    alpha: float = 0.1
    """Chance, over the whole run, that any policy is certified that the raters like less."""
    prompts_per_round: int = 192
    """Prompts a round on which the policy is improved."""
    samples_per_prompt: int = 4
    """Answers sampled to a prompt of which a pair is judged."""


@dataclass
class Budget:
    """One budget of labels for learning and for certifying. What a gate did not need goes back to
    learning, in equal parts for the rounds still to come.

    >>> Budget(total=100, gate_frac=0.2, rounds=2).for_learning(1)
    40
    """

    total: int
    gate_frac: float
    """Share of the labels kept for the gates, in equal parts; at 1 none are left to learn from."""
    rounds: int
    spent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.gate_frac <= 1:
            raise InputError("gate_frac must be above 0 and at most 1", got=str(self.gate_frac))
        if self.per_gate < 1 or (self.gate_frac < 1 and self.total < 2 * self.rounds):
            raise InputError(
                "the budget must give every round at least one label for its gate and one to learn",
                got=f"{self.total} labels for {self.rounds} rounds",
                do="raise --labels or lower --rounds",
            )

    @property
    def per_gate(self) -> int:
        """The most labels that one gate may use."""
        return int(self.total * self.gate_frac / self.rounds)

    @property
    def left(self) -> int:
        """Labels not yet spent."""
        return self.total - sum(self.spent.values())

    def for_learning(self, round: int) -> int:
        """Return how many labels that round (1, 2, …) may spend on learning."""
        if self.gate_frac == 1:
            return 0
        rounds_left = self.rounds - round + 1
        return max(0, (self.left - self.per_gate * rounds_left) // rounds_left)

    def spend(self, purpose: str, num_labels: int) -> None:
        """Book labels; raise `BudgetSpent` where there are not as many."""
        if num_labels > self.left:
            raise BudgetSpent(f"at most {self.left} labels are left", got=f"{num_labels} asked for")
        self.spent[purpose] = self.spent.get(purpose, 0) + num_labels

    def pay_helpers(self, cost: Mapping[str, float]) -> None:
        """Book what raising helpers took; `InputError` where nothing is left to learn from."""
        if labels := int(cost.get("labels", 0)):
            self.spent["helpers"] = labels
        if self.gate_frac < 1 and self.for_learning(1) < 1:
            raise InputError(
                "the budget must pay for raising helpers and leave something to learn from",
                got=f"{self.total} labels, of which helpers take {labels}",
                do="raise --labels",
            )


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
        rater, once = self.task.rater_of(round), self.task.trunk.workers.once
        streams = stream(self.seed, "ask", purpose, round).spawn(len(cases))
        helper: Any = None
        for i in track(range(len(cases)), "labels"):
            if i % _BLOCK == 0:
                block, key = cases[i : i + _BLOCK], (self.seed, "critique", purpose, round, i)
                helper = self._helper_of(block, key)
            # The main process alone asks.
            yield once(partial(self._answer, cases[i], helper, rater, streams[i], purpose, round))

    def _helper_of(self, block: Sequence[Case], key: tuple[Any, ...]) -> Any:
        """Return the helper, its critic (itself, or what a debater argues by) replaced by one that
        writes the block's critiques at once."""
        helper = self.task.helper
        if helper is not None and isinstance(self.protocol, WithCritique):
            return _BlockCritic(helper, block, key)
        if critic := getattr(helper, "critic", None):
            return replace(helper, critic=_BlockCritic(critic, block, key))
        return helper

    def _answer(
        self,
        case: Case,
        helper: Any,
        rater: Rater,
        rng: Rng,
        purpose: Purpose,
        round: int,
    ) -> Verdict:
        """Return the verdict on record, or ask for one and store it."""
        kept = self.store.find(case, purpose=purpose, round=round)
        if kept is not None:
            return kept
        verdict = self.protocol.judge(case, helper=helper, judge=rater, rng=rng)
        return self.store.add(verdict, case, purpose=purpose, round=round)

    def stop(self, round: int, why: str) -> NoReturn:
        """Keep in the run's record why nothing can be learned, and end the run."""
        row = {"kind": "stopped", "round": round, "reason": why}
        self.task.trunk.workers.once(lambda: self.folder.log(row))
        raise InvalidExperiment("there must be something to learn from labels", got=why)

    def learned(self, round: int) -> tuple[Comparisons, Comparisons]:
        """Return all comparisons to learn from after that round, and those the round itself gave;
        the undecided teach no direction and are left out."""
        asked = self.task.trunk.workers.once(
            lambda: self.store.comparisons(purpose="learn", last_round=round).rows
        )
        new = Comparisons(tuple(c for c in asked if c.round == round))
        return Comparisons((*self.task.comparisons, *asked)), new

    def taken(self, round: int) -> dict[str, dict[str, float]]:
        """Return labels of a round by purpose, and judge seconds where they were counted."""
        purposes: tuple[Purpose, ...] = ("learn", "gate")
        rows = self.task.trunk.workers.once(
            lambda: {p: self.store.seconds(p, round=round) for p in purposes}
        )
        seconds = {p: math.fsum(kept) for p, kept in rows.items()}
        return {
            "labels": {p: len(kept) for p, kept in rows.items()},
            "judge_s": {p: s for p, s in seconds.items() if s > 0},
        }


@dataclass(frozen=True)
class _BlockCritic:
    """A critic whose critiques of a block of cases are written in one batch, when first needed: a
    resumed run reads the same, whichever cases were judged before."""

    critic: Helper
    block: Sequence[Case]
    key: tuple[Any, ...]
    """Of the random stream by which the block is written."""

    @cached_property
    def _written(self) -> dict[str, Critique]:
        texts = {r.key: r for case in self.block for r in case.responses}
        critiques = self.critic.critique(list(texts.values()), rng=stream(*self.key))
        return {c.response.key: c for c in critiques}

    def critique(self, responses: Sequence[Response], *, rng: Rng) -> list[Critique]:
        """Return the critiques written of these responses; those of other texts are asked for."""
        if any(r.key not in self._written for r in responses):
            return self.critic.critique(responses, rng=rng)
        return [self._written[r.key] for r in responses]
