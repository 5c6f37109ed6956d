"""Whether help with an item is worth the judge's time, learned from controls.

    help is bought where   I(a_helped) / t_helped > I(a_alone) / t_alone

I is the information of the comparison under the reward's posterior, passed through a judge who is
right with probability a (`budget.expected_information`). Controls are cases of which it is known
which answer is the worse, because a flaw was planted in it; before anything else they are judged
with help and without, in turn. a is the mean of a Beta posterior over them, per mode and stratum; t
the mean seconds of a mode. A stratum is what the critic said of the two answers: flaws in `one` of
them only, in `both`, in `neither` (as where there is no critic). The prior is worth five controls:
3 : 2 alone, 4 : 1 with help where the critic named something (people then find half as many flaws
again, Saunders et al. 2022, 2206.05802), and 3 : 2 with help too where it named nothing.

Kin: buying more or better answers by their expected value, Dai et al. 2013 (doi
10.1016/j.artint.2013.06.002). Where we differ: (1) what the critic says is read before anything is
paid for it, as only the judge's time is scarce; (2) errors are taken to be symmetric and
independent of the margin; (3) a mode right no more than half the time is worth nothing, because
what learns from the labels takes them at their word. It fails where planted flaws are unlike those
met, and with few controls the prior decides: with a uniform one, chance did, and one run in which
help was left out by chance learned what impresses its raters (benchmarks/oversight_loop.py).

>>> tried = Allocator().after("one", assisted=False, passed=True, judge_s=30.0)
>>> tried = tried.after("one", assisted=True, passed=True, judge_s=40.0)
>>> tried.assist("one", *UNKNOWN), tried.assist("neither", *UNKNOWN)
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline.loop.budget import UNKNOWN, expected_information
from trueline.oversight.planted_flaws import Controls
from trueline.records import Cost, Critique

__all__ = ["UNKNOWN", "Allocator", "stratum"]


_ALONE, _HELPED = (3.0, 2.0), (4.0, 1.0)
"""Right and wrong controls that the prior is worth."""


def stratum(critiques: Sequence[Critique]) -> str:
    """What was said of a case's two answers; a critique that cannot be read names nothing."""
    sides = {c.response.key for c in critiques if c.flaws}
    return ("neither", "one", "both")[len(sides)]


@dataclass(frozen=True)
class Allocator:
    """What the controls so far have shown, by stratum and mode (True: with help)."""

    tried: Mapping[tuple[str, bool], Controls] = field(default_factory=dict)

    @classmethod
    def of(cls, learned: Iterable[Mapping[str, Any]]) -> Allocator:
        """From its own record."""
        return cls(
            {
                (row["stratum"], row["assisted"]): Controls(
                    passed=row["passed"], num=row["num"], cost=Cost(judge_s=row["judge_s"])
                )
                for row in learned
            }
        )

    def after(self, stratum: str, *, assisted: bool, passed: bool, judge_s: float) -> Allocator:
        """With one control more."""
        one = Controls(passed=int(passed), num=1, cost=Cost(judge_s=judge_s))
        mode = stratum, assisted
        return Allocator({**self.tried, mode: self.tried.get(mode, Controls()) + one})

    def seconds(self, assisted: bool) -> float:
        """What a judgement of this mode takes; nothing is bought of a mode never tried."""
        own = (found for (_, mode), found in self.tried.items() if mode == assisted)
        seconds = sum(own, Controls()).seconds
        return np.inf if seconds is None else seconds

    def accuracy(self, stratum: str, assisted: bool) -> float:
        """Mean of the Beta posterior."""
        right, wrong = _HELPED if assisted and stratum != "neither" else _ALONE
        found = self.tried.get((stratum, assisted), Controls())
        return (found.passed + right) / (found.num + right + wrong)

    def worth(self, stratum: str, assisted: bool, mean: float, std: float) -> float:
        """Nats a judge second of a pair whose margin is N(mean, std^2)."""
        accuracy = self.accuracy(stratum, assisted)
        if accuracy <= 0.5:
            return 0.0
        gain = expected_information(np.array([mean]), np.array([std]), accuracy)
        return float(gain[0]) / self.seconds(assisted)

    def assist(self, stratum: str, mean: float, std: float) -> bool:
        """Whether help is worth its time."""
        alone, helped = (self.worth(stratum, mode, mean, std) for mode in (False, True))
        return helped > alone

    def record(self) -> list[dict[str, Any]]:
        """One row a stratum and mode, as it stands in results."""
        return [
            {
                "stratum": name,
                "assisted": mode,
                "passed": found.passed,
                "num": found.num,
                "judge_s": found.cost.judge_s,
                "accuracy": self.accuracy(name, mode),
            }
            for (name, mode), found in sorted(self.tried.items())
        ]
