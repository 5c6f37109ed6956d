"""Let a fitted reward answer for the people behind comparisons that are over.

    P(first preferred) = sigmoid(mean(first) - mean(second)),   the verdict is drawn from it

With only a file of comparisons nobody can be asked about fresh answers: a reward fitted on a part
kept aside draws the verdicts. What it certifies is "better by that reward", not "better by people".
A response it cannot score makes the verdict `UNDECIDED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trueline.protocols import Scorer
from trueline.records import Critique, Preference, Response, Verdict

__all__ = ["RewardRater"]


@dataclass(frozen=True, kw_only=True)
class RewardRater:
    """Compare by a reward of its own."""

    scorer: Scorer
    name: str = "reward"

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """Draw the verdict from the Bradley-Terry probability of the reward's means."""
        one, two = self.scorer.score([first.prompt, second.prompt], [first.text, second.text])
        draw, preference = rng.random(), Preference.UNDECIDED
        if one.mean is not None and two.mean is not None:
            probability = 1.0 / (1.0 + math.exp(two.mean - one.mean))
            preference = Preference.FIRST if draw < probability else Preference.SECOND
        return Verdict(preference=preference, rater=self.name, critiques=critiques)
