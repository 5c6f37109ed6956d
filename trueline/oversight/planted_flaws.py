"""Judging beside a control: an answer and its copy with a planted flaw, which the judge must see.

    believed  iff  the judge prefers the answer to its flawed copy

Targeted perturbations (Saunders et al. 2022, arXiv 2206.05802) tell how good a judge is without
anybody's knowing the right verdict. One control says little of the case it stands beside, so by
default one case in five has one; `share=1.0` is for judges who may be absent altogether.

The flaw comes from the helper, if it can `inject` one (a language model, the critic of worked
sums), else a written sum in the answer is made wrong.

Where we differ: (1) the control is judged first, with at most half of what the case may cost; who
fails it is spared the case, and the verdict is undecided; (2) which answer gets the flaw is drawn;
(3) a control that the budget does not allow, or for which no flaw fits, is left out; the verdict
stands. The control's turns have round -1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from trueline.data.planted_flaws import ArithmeticFlaws, FlawPlanter, PlantedCase, plant_flaws
from trueline.errors import InputError
from trueline.oversight.direct import Direct
from trueline.oversight.transcript import Limited
from trueline.protocols import Oversight, Rater
from trueline.records import Case, Cost, Preference, Turn, Verdict
from trueline.rng import Rng

__all__ = ["PlantedFlaws", "passed"]


@dataclass(frozen=True, kw_only=True)
class PlantedFlaws(Limited):
    """Judge by another protocol, believed where its judge passes a control."""

    protocol: Oversight = field(default_factory=Direct)
    """How the case, and the control, are judged."""
    share: float = 0.2
    """Share of cases that get a control."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError("the share of controls must be in 0..1", got=str(self.share))

    def judge(self, case: Case, *, helper: Any = None, judge: Rater, rng: Rng) -> Verdict:
        """Return the inner protocol's verdict; undecided where the control was failed."""
        drawing, controlling, judging, ordering = rng.spawn(4)
        if case.shown_first is None:
            case = replace(case, shown_first=int(ordering.integers(2)))
        planter = helper if hasattr(helper, "inject") else ArithmeticFlaws()
        planted = self._plant(case, planter, drawing) if drawing.random() < self.share else None
        if planted is None:
            return self._within(self.limit).judge(case, helper=helper, judge=judge, rng=judging)
        spent = Cost(calls=1, tokens=planted.flawed.num_tokens or 0)
        control = self._within(_rest(self.limit, spent, share=0.5)).judge(
            replace(planted.case, shown_first=case.shown_first),
            helper=helper,
            judge=judge,
            rng=controlling,
        )
        spent += control.cost
        said = _describe(planted, control)
        text = f"{said}: {planted.flawed.text}"
        announced = Turn(speaker="control", text=text, round=-1, side=planted.side)
        turns = (announced, *(replace(turn, round=-1) for turn in control.transcript))
        asked = any(turn.speaker == "judge" for turn in control.transcript)
        if asked and not passed(planted, control):
            why = f"; it gave no verdict: {control.reason}" if control.reason else ""
            return Verdict(
                preference=Preference.UNDECIDED,
                rater=control.rater,
                cost=spent,
                transcript=turns,
                reason=f"the judge failed the control, {said}{why}",
                shown_first=case.shown_first,
            )
        verdict = self._within(_rest(self.limit, spent)).judge(
            case, helper=helper, judge=judge, rng=judging
        )
        return replace(verdict, cost=spent + verdict.cost, transcript=(*turns, *verdict.transcript))

    def _plant(self, case: Case, planter: FlawPlanter, rng: Rng) -> PlantedCase | None:
        """Return a control made of one answer or the other, where three calls can be paid."""
        for i in rng.permutation(2) if self.limit.calls >= 3 else ():
            for planted in plant_flaws([case.responses[i]], planter, rng=rng):
                return planted
        return None

    def _within(self, limit: Cost) -> Oversight:
        return replace(self.protocol, limit=limit)  # type: ignore[type-var]


def passed(planted: PlantedCase, verdict: Verdict) -> bool:
    """Return whether the answer was preferred to its flawed copy."""
    return verdict.preference is (Preference.SECOND, Preference.FIRST)[planted.side]


def _rest(limit: Cost, spent: Cost, *, share: float = 1.0) -> Cost:
    return Cost(
        calls=(limit.calls - spent.calls) * share,
        tokens=(limit.tokens - spent.tokens) * share,
        judge_s=(limit.judge_s - spent.judge_s) * share,
    )


def _describe(planted: PlantedCase, control: Verdict) -> str:
    at = "" if planted.flaw.step is None else f" at step {planted.flaw.step + 1}"
    letter = "A" if planted.side == control.shown_first else "B"
    return f"{planted.flaw.kind}{at} planted in answer {letter}"
