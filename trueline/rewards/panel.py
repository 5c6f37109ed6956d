"""Several rewards on trunks of their own as one scorer, which doubts where the trunks differ.

    mean = 1/M Σ mean_j     std² = 1/M Σ std_j² + 1/M Σ (mean_j − mean)²     lower = mean − caution

The law of total variance, as for an ensemble (Lakshminarayanan et al. 2017, 1612.01474; for rewards
with pretraining of their own, Eisenstein et al. 2023, 2312.09244): members of one trunk share what
it cannot see, members of different trunks less of it. caution is the mean of the members' own
cautions plus `k` times the spread between them.

Where we differ: (1) nothing is weighed by precision, because a weight that changes from row to row
would turn a member's doubt into reward; (2) novelty is the largest of the members', and a
calibrated interval, where every member has one, holds all of theirs, so that it covers whatever
one of them covers; (3) what one member leaves unscored the panel leaves unscored, and says who.

Shapes: N responses, M members. Units: the members' (nats of log-odds from each one's own reference
point): fit them on the same comparisons. Fails where all trunks are blind to the same thing.

>>> from trueline.testing import FakeTrunk
>>> from trueline.records import Comparison, Prompt, Response
>>> from trueline.rewards.bayesian import Bayesian
>>> a, b = (Response(prompt=Prompt.of("?"), text=text) for text in ("good", "bad"))
>>> fits = {f"trunk {i}": (t := FakeTrunk(planted={"good": 3.0}, seed=i), Bayesian().fit(
...     t.read([a, b]), [Comparison(chosen=a, rejected=b)], rng=np.random.default_rng(0)))
...     for i in range(2)}
>>> panel = Panel(members={name: fitted.on(trunk) for name, (trunk, fitted) in fits.items()})
>>> scores = panel.score(["?", "?"], ["good", "bad"])
>>> bool(scores.mean[0] > scores.mean[1])
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Prompt, Scores

__all__ = ["Panel"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Scorers, each a reward on its own trunk, under names of their own."""

    members: Mapping[str, Scorer]
    k: float = 1.0
    """Standard deviations between the members that `lower` subtracts, not negative."""

    def __post_init__(self) -> None:
        if len(self.members) < 2 or not 0.0 <= self.k < np.inf:
            raise InputError(
                "a panel needs at least two members and a finite k of at least 0",
                got=f"{len(self.members)} and k={self.k}",
            )

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        each = {name: scorer.score(prompts, responses) for name, scorer in self.members.items()}
        means, stds, lowers, novelties, scored = (
            np.stack([getattr(scores, column) for scores in each.values()])
            for column in ("mean", "std", "lower", "novelty", "scored")
        )
        mean, between = means.mean(0), means.std(0)
        caution = (means - lowers).mean(0) + self.k * between
        lows = [scores.low for scores in each.values() if scores.low is not None]
        highs = [scores.high for scores in each.values() if scores.high is not None]
        calibrated = len(lows) == len(each)
        reasons: dict[int, str] = {}
        for name, scores in each.items():
            for i in np.flatnonzero(~scores.scored).tolist():
                why = f"{name}: {scores.reasons.get(i, 'unscored')}"
                reasons[i] = f"{reasons[i]}; {why}" if i in reasons else why
        return Scores(
            mean=mean,
            std=np.sqrt((stds**2).mean(0) + between**2),
            lower=mean - caution,
            novelty=novelties.max(0),
            scored=np.asarray(scored.all(0)),
            reasons=reasons,
            low=np.min(lows, axis=0) if calibrated else None,
            high=np.max(highs, axis=0) if calibrated else None,
        )
