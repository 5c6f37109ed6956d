"""A stand-in for people who have left: a reward fitted on comparisons kept aside answers for them.

    P(first preferred) = sigmoid(mean(first) - mean(second)),   the verdict is drawn from it

With only a file of finished comparisons, nobody can be asked about fresh answers. Part of the file
is kept aside, a reward is fitted on it alone, and that reward draws the verdicts. What it certifies
is therefore "better by a reward fitted on the comparisons kept aside", not "better by people": the
result says so. A response it cannot score makes the verdict `UNDECIDED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trueline.protocols import Scorer
from trueline.records import Critique, Outcome, Preference, Response, Verdict

__all__ = ["RewardRater"]


@dataclass(frozen=True, kw_only=True)
class RewardRater:
    """Answers comparisons by a reward of its own."""

    scorer: Scorer
    name: str = "stand-in"

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """Draw the verdict from the Bradley–Terry probability of the stand-in's own means."""
        one, two = self.scorer.score([first.prompt, second.prompt], [first.text, second.text])
        draw = rng.random()
        if one.outcome is Outcome.UNSCORED or two.outcome is Outcome.UNSCORED:
            preference = Preference.UNDECIDED
        else:
            assert one.mean is not None and two.mean is not None
            probability = 1.0 / (1.0 + math.exp(two.mean - one.mean))
            preference = Preference.FIRST if draw < probability else Preference.SECOND
        return Verdict(preference=preference, rater=self.name, critiques=critiques)
