"""Judges with help against judges without, on pairs of which one answer has a planted flaw.

    right         share of cases in which the answer is preferred to its spoiled copy
    found         share of planted flaws that the judge itself confirmed, on the right side
    false_alarms  flaws a case that it confirmed and that are not there
    accused       share of clean answers with at least one of these
    judge_s       its seconds a case
    helped - alone, paired by case;   found(helped) / found(alone)

Saunders et al. 2022 (arXiv 2206.05802): people shown critiques find about half as many flaws again.
All intervals resample prompts. Where we differ: (1) flaws are planted, so that every case has
exactly one and its place is known; (2) false alarms and time stand beside what was found, since a
critic that names everything finds everything; (3) an undecided case counts as half right. It says
nothing of flaws that nobody knows how to plant.

>>> arm = Arm(**{name: np.array([0.0, 1.0]) for name in ROWS}, prompts=("a", "b"))
>>> print(compare(arm, arm, rng=np.random.default_rng(0))["found"])
0.000 [0.000, 0.000] (n=2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueline.data.planted_flaws import PlantedCase
from trueline.oversight.planted_flaws import passed
from trueline.protocols import Oversight, Rater
from trueline.records import Estimate, Preference, Verdict
from trueline.stats.resampling import bootstrap, difference, mean

__all__ = ["Arm", "compare", "found_ratio", "judge_planted"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of judging N planted cases; each field but the last is [N]."""

    right: Floats
    found: Floats
    false_alarms: Floats
    accused: Floats
    judge_s: Floats
    prompts: tuple[str, ...]
    """Keys of the cases' prompts, the clusters."""

    def __add__(self, other: Arm) -> Arm:
        """The cases of both."""
        rows = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in ROWS}
        return Arm(**rows, prompts=self.prompts + other.prompts)

    def estimates(self, *, rng: np.random.Generator) -> dict[str, Estimate]:
        """Each measure's mean, with its interval by prompts."""
        return {name: mean(getattr(self, name), clusters=self.prompts, rng=rng) for name in ROWS}


ROWS = tuple(field.name for field in fields(Arm) if field.name != "prompts")


def judge_planted(
    protocol: Oversight,
    planted: Sequence[PlantedCase],
    *,
    helper: Any = None,
    judge: Rater,
    rng: np.random.Generator,
) -> Arm:
    """Every case judged once; the same `rng` draws the same judges for another protocol."""
    streams = rng.spawn(len(planted))
    rows = [
        _measured(one, protocol.judge(one.case, helper=helper, judge=judge, rng=stream))
        for one, stream in zip(planted, streams, strict=True)
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(ROWS)).T
    prompts = tuple(one.case.prompt.key for one in planted)
    return Arm(**dict(zip(ROWS, columns, strict=True)), prompts=prompts)


def compare(helped: Arm, alone: Arm, *, rng: np.random.Generator) -> dict[str, Estimate]:
    """helped - alone, measure by measure, paired by case."""
    return {
        name: difference(
            getattr(helped, name), getattr(alone, name), clusters=helped.prompts, rng=rng
        )
        for name in ROWS
    }


def found_ratio(helped: Arm, alone: Arm, *, rng: np.random.Generator) -> Estimate:
    """How many times as many planted flaws the helped judges find; no value if the others none."""

    def ratio(a: Floats, b: Floats) -> float:
        return float(a.mean() / b.mean()) if b.any() else float("nan")

    return bootstrap(ratio, helped.found, alone.found, clusters=helped.prompts, rng=rng)


def _measured(one: PlantedCase, verdict: Verdict) -> tuple[float, ...]:
    """In the order of the fields of `Arm`."""
    undecided = verdict.preference is Preference.UNDECIDED
    false = [side for side, flaw in verdict.found if one.invented(side, flaw)]
    return (
        0.5 if undecided else float(passed(one, verdict)),
        float(any(one.names(side, flaw) for side, flaw in verdict.found)),
        float(len(false)),
        float(1 - one.side in false),
        verdict.cost.judge_s,
    )
