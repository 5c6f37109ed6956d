"""A fitted reward on its trunk: what optimisers and people score texts with.

Row i of the result is response i to prompt i, repeats included, whatever order the trunk reads them
in. A response that the reward does not score is unscored, with the reason, in its own place.

>>> from trueline.testing import FakeTrunk
>>> from trueline.records import Comparison
>>> from trueline.rewards.bayesian import Bayesian
>>> trunk, ask = FakeTrunk(planted={"good": 3.0}), Prompt.of("?")
>>> a, b = Response(prompt=ask, text="good"), Response(prompt=ask, text="bad")
>>> pairs = [Comparison(chosen=a, rejected=b)]
>>> fitted = Bayesian().fit(trunk.read([a, b]), pairs, rng=np.random.default_rng(0))
>>> fitted.on(trunk).score(["?", "?"], ["good", "good"]).scored
array([ True,  True])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Prompt, Response, Scores
from trueline.rewards.protocols import Fitted, Reader

__all__ = ["NOT_FINITE", "Reward"]

NOT_FINITE = "the trunk's reading of it is not finite"


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A fitted reward on its trunk: the `Scorer` that optimisers and people use."""

    fitted: Fitted
    trunk: Reader

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        if len(prompts) != len(responses):
            raise InputError(
                "there must be as many prompts as responses",
                got=f"{len(prompts)} and {len(responses)}",
            )
        if not len(prompts):
            none = np.zeros(0)
            return Scores(none, none, none, none, np.zeros(0, bool))
        asked = [Prompt.of(p) if isinstance(p, str) else p for p in prompts]
        answers = [Response(prompt=p, text=text) for p, text in zip(asked, responses, strict=True)]
        return self.read(answers)[0]

    def read(self, responses: Sequence[Response]) -> tuple[Scores, Readings]:
        """Scores of N responses in their order, and the readings they rest on, one a text: the
        trunk's own log-probabilities among them."""
        readings = self.trunk.read(responses)
        scores = self.fitted.score(readings)
        at = readings.rows([answer.key for answer in responses])
        columns = {name: getattr(scores, name)[at] for name in scores.columns}
        why = scores.reasons
        reasons = {i: why[j] for i, j in enumerate(at.tolist()) if j in why}
        return Scores(**columns, reasons=reasons), readings
