"""Judging and revising by written principles: critique, revision, and preference pairs from both.

    judge   both answers criticised under one principle p ~ principles, then compared
    pairs   y_0 -> c_k = critique(y_{k-1} | p_k) -> y_k = revise(y_{k-1}, p_k, c_k), k = 1 .. K;
            (chosen y_K, rejected y_0) where a judge prefers y_K, and nothing otherwise

Constitutional AI: Bai et al. 2022 (arXiv 2212.08073). The principle is drawn once a case, whatever
the order of its answers, and stands before the critiques, so that the judge knows it too.

Where we differ: (1) a revision is not better because it came later: every pair is judged, in
random order, and only what the judge upholds becomes a `Comparison`; (2) an answer in which
nothing is found under its principle is not rewritten; (3) what fails is counted and never paired.

A helper that has `under(principle)` criticises by that principle alone; others as they always do.
It fails where critic and judge share a blind spot: they uphold what neither can see.

>>> Constitution().num_revisions
1
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from trueline.errors import InputError, JudgeError
from trueline.oversight.direct import Direct
from trueline.oversight.transcript import UNLIMITED, Transcript, needs
from trueline.protocols import Helper, Oversight, Rater
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
    """A helper that mends what a critique found."""

    def revise(
        self, response: Response, *, principle: str, critique: Critique, rng: np.random.Generator
    ) -> Response:
        """Another answer to the same prompt; JudgeError where there is none to be had."""
        ...


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """What became of N responses: the pairs judged, those upheld, and why there are no more."""

    comparisons: tuple[Comparison, ...]
    """Upheld: the last revision chosen, the original rejected."""
    judged: tuple[tuple[Case, Verdict], ...]
    """Every pair that was judged; the original stands first."""
    counts: Mapping[str, int]
    """upheld, not_upheld, undecided, unchanged, malformed, refused, unaffordable: N in sum."""
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Constitution:
    """Principles by which answers are criticised, compared and revised."""

    principles: tuple[str, ...] = PRINCIPLES
    num_revisions: int = 1
    """Rounds of critique and revision before a pair is judged, each under its own principle."""
    limit: Cost = UNLIMITED
    """The most that one case may cost; of a revised answer, calls and tokens before its pair is
    judged."""
    readable: Callable[[Response], bool] = lambda response: bool(response.text.strip())
    """Whether a revision can be read at all."""

    def __post_init__(self) -> None:
        if not self.principles or self.num_revisions < 1:
            raise InputError(
                "a constitution needs a principle and at least one revision",
                got=f"{len(self.principles)} and {self.num_revisions}",
            )

    def judge(
        self,
        case: Case,
        *,
        helper: Helper | None = None,
        judge: Rater,
        rng: np.random.Generator,
    ) -> Verdict:
        """One verdict after critiques of both answers under one principle."""
        critic = needs(helper, "critique", "constitution")
        (drawing,) = rng.spawn(1)
        principle = self.principles[int(drawing.integers(len(self.principles)))]
        ledger = Transcript(case, judge, rng, self.limit)
        if ledger.affords(2):
            said = ledger.criticise(_under(critic, principle), case.responses)
            ledger.show([replace(c, text=f"{principle} {c.text}") if c.text else c for c in said])
        return ledger.conclude()

    def pairs(
        self,
        responses: Sequence[Response],
        *,
        helper: Helper,
        judge: Rater,
        rng: np.random.Generator,
        protocol: Oversight | None = None,
    ) -> Revisions:
        """Revise each response and have original and revision judged, unaided or by `protocol`."""
        needs(helper, "critique", "constitution")
        reviser = needs(helper, "revise", "constitution")
        assert isinstance(reviser, Reviser)
        drawing, helping, judging = rng.spawn(3)
        drafts = [_Draft(original=response, now=response) for response in responses]
        for _ in range(self.num_revisions):
            drawn = drawing.integers(len(self.principles), size=len(drafts))
            for i, principle in enumerate(self.principles):
                group = [d for d, p in zip(drafts, drawn, strict=True) if p == i and not d.fate]
                self._revise(group, principle, reviser, helping)
        found: list[Comparison] = []
        judged: list[tuple[Case, Verdict]] = []
        for draft, stream in zip(drafts, judging.spawn(len(drafts)), strict=True):
            if not draft.fate and draft.now.text == draft.original.text:
                draft.fate = "unchanged"
            if draft.fate:
                continue
            case = Case(first=draft.original, second=draft.now)
            how = protocol or Direct(limit=self.limit)
            verdict = how.judge(case, helper=helper, judge=judge, rng=stream)
            draft.cost += verdict.cost
            draft.fate = _FATES[verdict.preference]
            judged.append((case, verdict))
            if draft.fate == "upheld":
                found.append(
                    Comparison(chosen=draft.now, rejected=draft.original, rater=verdict.rater)
                )
        return Revisions(
            comparisons=tuple(found),
            judged=tuple(judged),
            counts=Counter(draft.fate for draft in drafts),
            cost=sum((draft.cost for draft in drafts), Cost()),
        )

    def _revise(
        self, drafts: list[_Draft], principle: str, helper: Reviser, rng: np.random.Generator
    ) -> None:
        """One round for the answers that drew this principle; criticised together."""
        calls, tokens = self.limit.calls - 2, self.limit.tokens
        left = [d for d in drafts if d.cost.calls <= calls and d.cost.tokens < tokens]
        for draft in drafts:
            if draft not in left and draft.now is draft.original:
                draft.fate = "unaffordable"
        drafts = left
        if not drafts:
            return
        asking, *streams = rng.spawn(1 + len(drafts))
        try:
            said = _under(helper, principle).critique([d.now for d in drafts], rng=asking)
        except JudgeError:
            for draft in drafts:
                draft.fate, draft.cost = "refused", draft.cost + Cost(calls=1)
            return
        for draft, critique, stream in zip(drafts, said, streams, strict=True):
            draft.cost += Cost(calls=1, tokens=critique.num_tokens)
            if critique.flaws is None:
                draft.fate = "malformed" if critique.text else "refused"
            elif critique.flaws:
                try:
                    new = helper.revise(
                        draft.now, principle=principle, critique=critique, rng=stream
                    )
                    draft.take(new, self.readable)
                except JudgeError:
                    draft.cost += Cost(calls=1)
                    draft.fate = "refused"


@dataclass(eq=False)
class _Draft:
    """One answer on its way."""

    original: Response
    now: Response
    cost: Cost = field(default_factory=Cost)
    fate: str = ""
    """Why it goes no further; empty while it does."""

    def take(self, new: Response, readable: Callable[[Response], bool]) -> None:
        self.cost += Cost(calls=1, tokens=new.num_tokens or 0)
        if new.prompt.key != self.now.prompt.key or not readable(new):
            self.fate = "malformed"
        else:
            self.now = new


_FATES = {
    Preference.SECOND: "upheld",
    Preference.FIRST: "not_upheld",
    Preference.UNDECIDED: "undecided",
}


def _under(helper: Helper, principle: str) -> Helper:
    bound: Helper = helper.under(principle) if hasattr(helper, "under") else helper
    return bound
