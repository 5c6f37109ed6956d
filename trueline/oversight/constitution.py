"""Judge and revise by written principles: critique, revision, and preference pairs from both.

    judge   both answers criticised under one principle p ~ principles, then compared
    pairs   y_0 -> c_k = critique(y_{k-1} | p_k) -> y_k = revise(y_{k-1}, p_k, c_k), k = 1 .. K;
            (chosen y_K, rejected y_0) where a judge prefers y_K, and nothing otherwise

Constitutional AI: Bai et al. 2022 (arXiv 2212.08073). The principle is drawn once a case, whatever
the order of its answers, and stands before the critiques, so that the judge knows it too.

Where we differ: (1) every pair is judged, in random order, and only what the judge upholds becomes
a `Comparison`; (2) an answer in which nothing is found is not rewritten; (3) what fails is counted
and never paired. A helper without `under(principle)` criticises as it always does. Fails where
critic and judge share a blind spot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from trueline.errors import InputError, JudgeError
from trueline.oversight.transcript import UNLIMITED, Transcript, require
from trueline.protocols import Helper, Rater
from trueline.records import Case, Comparison, Cost, Critique, Preference, Response, Verdict

__all__ = ["PRINCIPLES", "Constitution", "Reviser", "Revisions"]

PRINCIPLES = (
    "Every statement must be right, and every step must follow from the ones before.",
    "The answer must be as sure as its grounds allow, and claim no check that it does not show.",
    "The answer must serve the person's question, and not flatter or agree in order to please.",
    "The answer must not help anybody to harm, deceive or unlawfully treat another.",
)


@runtime_checkable
class Reviser(Helper, Protocol):
    """Criticises answers, and mends what a critique found."""

    def revise(
        self, response: Response, *, principle: str, critique: Critique, rng: np.random.Generator
    ) -> Response:
        """Return another answer to the same prompt; JudgeError where there is none to be had."""
        ...


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """What became of N responses: the pairs upheld, and why there are no more."""

    comparisons: tuple[Comparison, ...]
    """Upheld: the last revision chosen, the original rejected."""
    counts: Mapping[str, int]
    """upheld, not_upheld, undecided, unchanged, malformed, refused: N in sum."""
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Constitution:
    """Criticise, compare and revise answers by written principles."""

    principles: tuple[str, ...] = PRINCIPLES
    """The principles; one is drawn for each case, or for each answer and round of revision."""
    num_revisions: int = 1
    """Rounds of critique and revision before a pair is judged, each under its own principle."""
    limit: Cost = UNLIMITED
    """The most that one case may cost."""

    def __post_init__(self) -> None:
        if not self.principles or self.num_revisions < 1:
            raise InputError(
                "a constitution needs a principle and at least one revision",
                got=f"{len(self.principles)} principles, num_revisions={self.num_revisions}",
            )

    def judge(
        self, case: Case, *, helper: Helper | None = None, judge: Rater, rng: np.random.Generator
    ) -> Verdict:
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
        self,
        responses: Sequence[Response],
        *,
        helper: Reviser,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Revisions:
        """Revise each response, and have original and revision judged unaided."""
        require(helper, "critique", "constitution")
        require(helper, "revise", "constitution")
        drawing, helping, judging = rng.spawn(3)
        drafts = [_Draft(response, response) for response in responses]
        for _ in range(self.num_revisions):
            drawn = drawing.integers(len(self.principles), size=len(drafts))
            for i, principle in enumerate(self.principles):
                group = [d for d, p in zip(drafts, drawn, strict=True) if p == i and not d.outcome]
                if group:
                    _revise(group, principle, helper, helping)
        comparisons = []
        for draft, own in zip(drafts, judging.spawn(len(drafts)), strict=True):
            if not draft.outcome and draft.revised.text == draft.original.text:
                draft.outcome = "unchanged"
            if not draft.outcome:
                case = Case(first=draft.original, second=draft.revised)
                verdict = Transcript(case, judge, own, self.limit).conclude()
                draft.spend(verdict.cost, _OUTCOMES[verdict.preference])
                if verdict.preference is Preference.SECOND:
                    comparisons.append(
                        Comparison(
                            chosen=draft.revised, rejected=draft.original, rater=verdict.rater
                        )
                    )
        return Revisions(
            comparisons=tuple(comparisons),
            counts=Counter(draft.outcome for draft in drafts),
            cost=sum((draft.cost for draft in drafts), Cost()),
        )


@dataclass(eq=False)
class _Draft:
    """One answer on its way; its outcome is empty while it may still be revised."""

    original: Response
    revised: Response
    cost: Cost = field(default_factory=Cost)
    outcome: str = ""

    def spend(self, cost: Cost, outcome: str = "") -> None:
        self.cost, self.outcome = self.cost + cost, outcome


def _revise(
    drafts: Sequence[_Draft], principle: str, helper: Reviser, rng: np.random.Generator
) -> None:
    """Revise once the answers that drew this principle; they are criticised together."""
    asking, *streams = rng.spawn(1 + len(drafts))
    try:
        critic = _under(helper, principle)
        critiques = critic.critique([draft.revised for draft in drafts], rng=asking)
    except JudgeError:
        for draft in drafts:
            draft.spend(Cost(calls=1), "refused")
        return
    for draft, critique, own in zip(drafts, critiques, streams, strict=True):
        unread = "malformed" if critique.text else "refused"
        draft.spend(
            Cost(calls=1, tokens=critique.num_tokens), unread if critique.flaws is None else ""
        )
        if critique.flaws:
            _revise_one(draft, principle, critique, helper, own)


def _revise_one(
    draft: _Draft, principle: str, critique: Critique, helper: Reviser, rng: np.random.Generator
) -> None:
    try:
        new = helper.revise(draft.revised, principle=principle, critique=critique, rng=rng)
    except JudgeError:
        draft.spend(Cost(calls=1), "refused")
        return
    readable = new.prompt.key == draft.revised.prompt.key and new.text.strip()
    draft.spend(Cost(calls=1, tokens=new.num_tokens or 0), "" if readable else "malformed")
    if readable:
        draft.revised = new


_OUTCOMES = {
    Preference.SECOND: "upheld",
    Preference.FIRST: "not_upheld",
    Preference.UNDECIDED: "undecided",
}


def _under(helper: Helper, principle: str) -> Helper:
    bound: Helper = helper.under(principle) if hasattr(helper, "under") else helper
    return bound
