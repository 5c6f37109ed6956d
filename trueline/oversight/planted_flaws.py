"""Judging beside a control: an answer against a copy with a planted flaw, which the judge must see.

    believed  iff  the judge prefers the answer to its spoiled copy
    accuracy on controls ~ Beta(passed + 1/2, num - passed + 1/2)          (Jeffreys)

Targeted perturbations (Saunders et al. 2022, arXiv 2206.05802) tell how good a judge is without
anybody's knowing the right verdict, as the planted flaw is known. One control says little of the
case it stands beside, unless judge or helper fail on both together: beside every case it filters
little and costs much (benchmarks/oversight_assisted.py). So by default one case in five has one,
enough to measure, and `share=1.0` is for judges who may be absent altogether.

Where we differ: (1) the control is judged by the same protocol, helper and judge, with at most
half of what the case may cost, and before it: who fails is spared the case, and the verdict is
undecided; (2) which answer is spoiled is drawn, as nobody knows which is good: where both are bad
a control is harder than it looks; (3) a control that the budget does not allow, or for which no
flaw fits, is left out, and the verdict stands. The control's turns have round -1.

>>> print((Controls(passed=18, num=20) + Controls(passed=1, num=1)).accuracy)
0.905 [0.728, 0.980] (n=21)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from trueline.data.planted_flaws import FlawPlanter, PlantedCase, plant_flaws
from trueline.errors import InputError
from trueline.oversight.direct import Direct
from trueline.oversight.transcript import UNLIMITED
from trueline.protocols import Oversight, Rater
from trueline.records import Case, Cost, Estimate, Preference, Turn, Verdict

__all__ = ["Controls", "PlantedFlaws", "control_accuracy", "passed"]


@dataclass(frozen=True, kw_only=True)
class PlantedFlaws:
    """Another protocol, believed where its judge passes a control."""

    spoiler: FlawPlanter
    """Where flaws come from."""
    protocol: Oversight = field(default_factory=Direct)
    """How the case, and the control, are judged."""
    share: float = 0.2
    """Share of cases that get a control."""
    limit: Cost = UNLIMITED
    """The most that one case may cost, its control included."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError("the share of controls must be in 0..1", got=str(self.share))

    def judge(
        self, case: Case, *, helper: Any = None, judge: Rater, rng: np.random.Generator
    ) -> Verdict:
        """The inner protocol's verdict, or none where the control was failed."""
        drawing, controlling, judging = rng.spawn(3)
        planted = self._planted(case, drawing) if drawing.random() < self.share else None
        if planted is None:
            return self._within(self.limit).judge(case, helper=helper, judge=judge, rng=judging)
        spent = Cost(calls=1, tokens=planted.flawed.num_tokens or 0)
        control = self._within(_left(self.limit, spent, share=0.5)).judge(
            planted.case, helper=helper, judge=judge, rng=controlling
        )
        spent += control.cost
        turns = (_announced(planted), *(replace(turn, round=-1) for turn in control.transcript))
        asked = any(turn.speaker == "judge" for turn in control.transcript)
        if asked and not passed(planted, control):
            why = f"; it gave no verdict: {control.reason}" if control.reason else ""
            return Verdict(
                preference=Preference.UNDECIDED,
                rater=control.rater,
                cost=spent,
                transcript=turns,
                reason=f"the judge failed the control, {_told(planted)}{why}",
            )
        verdict = self._within(_left(self.limit, spent)).judge(
            case, helper=helper, judge=judge, rng=judging
        )
        return replace(verdict, cost=spent + verdict.cost, transcript=(*turns, *verdict.transcript))

    def _planted(self, case: Case, rng: np.random.Generator) -> PlantedCase | None:
        """A control made of the one answer or the other, where three calls can be paid."""
        for i in rng.permutation(2) if self.limit.calls >= 3 else ():
            for planted in plant_flaws([case.responses[i]], self.spoiler, rng=rng):
                return planted
        return None

    def _within(self, limit: Cost) -> Oversight:
        return replace(self.protocol, limit=limit)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """How often a way of judging passed, and what that took; they add up."""

    passed: int = 0
    num: int = 0
    cost: Cost = field(default_factory=Cost)

    def __add__(self, other: Controls) -> Controls:
        return Controls(
            passed=self.passed + other.passed,
            num=self.num + other.num,
            cost=self.cost + other.cost,
        )

    @property
    def accuracy(self) -> Estimate:
        """The share passed, with Jeffreys' interval; undecided is not passed."""
        if not self.num:
            return Estimate(None, None, None, 0)
        posterior = scipy_stats.beta(self.passed + 0.5, self.num - self.passed + 0.5)
        lower, upper = (float(end) for end in posterior.ppf([0.025, 0.975]))
        share = self.passed / self.num
        return Estimate(share, min(share, lower), max(share, upper), self.num)

    @property
    def seconds(self) -> float | None:
        """The judge's seconds a control; None where there was none."""
        return self.cost.judge_s / self.num if self.num else None


def passed(planted: PlantedCase, verdict: Verdict) -> bool:
    """Whether the answer was preferred to its spoiled copy."""
    return verdict.preference is (Preference.SECOND, Preference.FIRST)[planted.side]


def control_accuracy(
    protocol: Oversight,
    planted: Sequence[PlantedCase],
    *,
    helper: Any = None,
    judge: Rater,
    rng: np.random.Generator,
) -> Controls:
    """What a protocol, a helper and a judge together are worth on planted flaws."""
    total = Controls()
    for one, stream in zip(planted, rng.spawn(len(planted)), strict=True):
        verdict = protocol.judge(one.case, helper=helper, judge=judge, rng=stream)
        total += Controls(passed=int(passed(one, verdict)), num=1, cost=verdict.cost)
    return total


def _left(limit: Cost, spent: Cost, *, share: float = 1.0) -> Cost:
    return Cost(
        calls=(limit.calls - spent.calls) * share,
        tokens=(limit.tokens - spent.tokens) * share,
        judge_s=(limit.judge_s - spent.judge_s) * share,
    )


def _told(planted: PlantedCase) -> str:
    at = "" if planted.flaw.step is None else f" at step {planted.flaw.step + 1}"
    return f"{planted.flaw.kind}{at} planted in answer {planted.side + 1}"


def _announced(planted: PlantedCase) -> Turn:
    return Turn(
        speaker="control",
        text=f"{_told(planted)}: {planted.flawed.text}",
        round=-1,
        side=planted.side,
    )
