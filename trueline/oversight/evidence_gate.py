"""No evidence offered, rejected: a judge for whom a claim that cannot be checked was not made.

    answer    stands iff it, or what is said for it, offers evidence that holds
    one of two stands: it is preferred;  both: the judge decides;  neither: undecided
    a charge  reaches the judge iff its `Flaw.evidence` holds

The counter-rule to obfuscated arguments (Barnes & Christiano 2020), where a claim is made in a word
and refuted only by whoever finds the one thing wrong with it: "91 is prime" stands until somebody
says 7. The burden is moved to who claims. The price is every truth nobody can show: a prime has no
factor to be seen by, and what a critic rightly feels and cannot prove is lost
(benchmarks/oversight_obfuscated.py). Where we differ: evidence is checked by the judge, at its
usual time for a look, and not by the rules of a debate. Fails where a proof is as long as what it
proves: then who lies can write one too, and one look at it shows little.

>>> from trueline.models.scripted import ScriptedRater
>>> from trueline.records import Prompt
>>> pair = [Response(prompt=Prompt.of("is 91 prime"), text=text) for text in ("yes", "7 * 13")]
>>> judge = EvidenceGatedJudge(judge=ScriptedRater.by_value(lambda r: -len(r.text)),
...                   offers=lambda r, _: r.text if "*" in r.text else None,
...                   holds=lambda r, text, _: text == "7 * 13")
>>> judge.compare(*pair, rng=np.random.default_rng(0)).preference.value
'second'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from trueline.protocols import Rater
from trueline.records import Cost, Critique, Preference, Response, Verdict

__all__ = ["EvidenceGatedJudge", "Holds", "Offers"]

Offers: TypeAlias = Callable[[Response, Sequence[Critique]], str | None]
Holds: TypeAlias = Callable[[Response, str, np.random.Generator], bool]


@dataclass(frozen=True, kw_only=True)
class EvidenceGatedJudge:
    """Another judge, who hears only what comes with evidence."""

    judge: Rater
    offers: Offers
    """The evidence for an answer, in it or in what is said about it; None where there is none."""
    holds: Holds
    """The judge's own check of a piece of evidence about an answer."""
    check_s: float = 8.0
    """Seconds a check."""
    word_s: float = 0.25
    """Seconds a word read, where the rule decides and the judge does not."""

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """The judge's verdict where both answers stand, else the rule's."""
        checking, judging = rng.spawn(2)
        offered = [(r, self.offers(r, critiques)) for r in (first, second)]
        stands = [e is not None and self.holds(r, e, checking) for r, e in offered]
        cost = Cost(judge_s=self.check_s * sum(e is not None for _, e in offered))
        if not all(stands):
            texts = [first.prompt.text, first.text, second.text, *(c.text for c in critiques)]
            reading = Cost(judge_s=self.word_s * sum(len(text.split()) for text in texts))
            neither = "neither answer offers evidence that holds"
            return Verdict(
                preference=_BY_STANDING[stands[0], stands[1]],
                rater="rule",
                critiques=critiques,
                cost=cost + reading,
                reason=None if any(stands) else neither,
            )
        charges = [f for c in critiques for f in c.flaws or () if f.evidence is not None]
        kept = tuple(self._heard(critique, checking) for critique in critiques)
        verdict = self.judge.compare(first, second, critiques=kept, rng=judging)
        cost += Cost(judge_s=self.check_s * len(charges))
        return replace(verdict, cost=verdict.cost + cost)

    def _heard(self, critique: Critique, rng: np.random.Generator) -> Critique:
        flaws = tuple(
            flaw
            for flaw in critique.flaws or ()
            if flaw.evidence is not None and self.holds(critique.response, flaw.evidence, rng)
        )
        return replace(critique, flaws=None if critique.flaws is None else flaws)


_BY_STANDING = {
    (True, False): Preference.FIRST,
    (False, True): Preference.SECOND,
    (False, False): Preference.UNDECIDED,
}
