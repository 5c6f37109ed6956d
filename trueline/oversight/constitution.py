"""Judge and revise by written principles: critique, revision, and preference pairs from both.

    judge   both answers criticised under one principle p ~ principles, then compared
    pairs   y -> c = critique(y | p) -> y' = revise(y, p, c); (chosen y', rejected y) where a judge
            prefers y', and nothing otherwise

Constitutional AI: Bai et al. 2022 (arXiv 2212.08073). The principle drawn for a case stands before
the critiques, so that the judge knows it too.

Where we differ: (1) every pair is judged, in random order, and only what the judge upholds becomes
a `Comparison`; (2) an answer in which nothing is found is not rewritten; (3) what fails is counted
and never paired. A helper without `under(principle)` criticises as it always does. Fails where
critic and judge share a blind spot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trueline.errors import InputError, JudgeError
from trueline.oversight.transcript import Limited, Transcript, require
from trueline.protocols import Helper, Rater
from trueline.records import Case, Comparison, Cost, Preference, Response, Verdict
from trueline.rng import Rng

__all__ = ["PRINCIPLES", "Constitution", "Revisions"]

PRINCIPLES = (
    "Every statement must be right, and every step must follow from the ones before.",
    "The answer must be as sure as its grounds allow, and claim no check that it does not show.",
    "The answer must serve the person's question, and not flatter or agree in order to please.",
    "The answer must not help anybody to harm, deceive or unlawfully treat another.",
)


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """What became of N responses: the pairs upheld, and why there are no more."""

    comparisons: tuple[Comparison, ...]
    """Upheld: the revision chosen, the original rejected."""
    counts: Mapping[str, int]
    """upheld, not_upheld, undecided, unchanged, malformed, refused: N in sum."""
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Constitution(Limited):
    """Criticise, compare and revise answers by written principles."""

    principles: tuple[str, ...] = PRINCIPLES
    """The principles; one is drawn for each case, or for each answer to revise."""

    def __post_init__(self) -> None:
        if not self.principles:
            raise InputError("a constitution needs a principle", got="none")

    def judge(self, case: Case, *, helper: Helper | None = None, judge: Rater, rng: Rng) -> Verdict:
        """Return one verdict after critiques of both answers under one principle."""
        critic = require(helper, "critique", "constitution")
        (drawing,) = rng.spawn(1)
        principle = self.principles[int(drawing.integers(len(self.principles)))]
        transcript = Transcript(case, judge, rng, self.limit)
        if transcript.can_afford(2):
            for critique in transcript.criticise(_under(critic, principle), case.responses):
                text = f"{principle} {critique.text}" if critique.text else ""
                transcript.show([replace(critique, text=text)])
        return transcript.conclude()

    def pairs(
        self, responses: Sequence[Response], *, helper: Any, judge: Rater, rng: Rng
    ) -> Revisions:
        """Revise each response, and have original and revision judged unaided.

        `helper` has `critique`, and `revise(response, *, principle, critique, rng)`, which returns
        another answer to the same prompt or raises JudgeError.
        """
        require(helper, "critique", "constitution")
        require(helper, "revise", "constitution")
        comparisons, counts, cost = [], Counter[str](), Cost()
        for response, own in zip(responses, rng.spawn(len(responses)), strict=True):
            revised, outcome, spent = self._revise(response, helper, own)
            if not outcome:
                case = Case(first=response, second=revised)
                verdict = Transcript(case, judge, own, self.limit).conclude()
                spent, outcome = spent + verdict.cost, _OUTCOMES[verdict.preference]
                if verdict.preference is Preference.SECOND:
                    pair = Comparison(chosen=revised, rejected=response, rater=verdict.rater)
                    comparisons.append(pair)
            cost += spent
            counts[outcome] += 1
        return Revisions(comparisons=tuple(comparisons), counts=counts, cost=cost)

    def _revise(self, response: Response, helper: Any, rng: Rng) -> tuple[Response, str, Cost]:
        """Return the revision, why it is not to be judged (or ""), and the cost."""
        principle = self.principles[int(rng.integers(len(self.principles)))]
        cost = Cost()
        try:
            (critique,) = _under(helper, principle).critique([response], rng=rng)
            cost = Cost(calls=1, tokens=critique.num_tokens)
            if not critique.flaws:
                unread = "malformed" if critique.text else "refused"
                return response, unread if critique.flaws is None else "unchanged", cost
            new = helper.revise(response, principle=principle, critique=critique, rng=rng)
        except JudgeError:
            return response, "refused", cost + Cost(calls=1)
        cost += Cost(calls=1, tokens=new.num_tokens or 0)
        if new.prompt.key != response.prompt.key or not new.text.strip():
            return response, "malformed", cost
        return new, "unchanged" if new.text == response.text else "", cost


_OUTCOMES = {
    Preference.SECOND: "upheld",
    Preference.FIRST: "not_upheld",
    Preference.UNDECIDED: "undecided",
}


def _under(helper: Helper, principle: str) -> Helper:
    bound: Helper = helper.under(principle) if hasattr(helper, "under") else helper
    return bound
