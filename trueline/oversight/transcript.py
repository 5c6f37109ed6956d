"""What a protocol keeps while it runs: who said what, the judge's beliefs, the cost, the limit.

The judge sees the two answers in an order drawn once for the case, the same in every round, so
that a judge who favours the first answer favours nobody; and it is one judge, given the same stream
of randomness each time. Quotes are verified against the source before anybody reads them. Whoever
fails (`JudgeError`) is recorded and nothing is lost: a helper's failure is a critique without
content, a judge's an undecided verdict. One call is always kept back for the judge, so that help
never eats the judgement.

    asked while   calls + asked (+ 1 for the judge) <= limit.calls,  tokens < limit.tokens,
                  judge_s < limit.judge_s

Tokens and seconds are known afterwards only: they are overrun by one reply or one look at most, and
calls by one where a judge is asked both ways round.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from trueline.errors import InputError, JudgeError
from trueline.oversight.quotes import verified
from trueline.protocols import Debater, Helper, Rater
from trueline.records import Case, Cost, Critique, Preference, Response, Turn, Verdict

__all__ = ["UNLIMITED", "Transcript", "in_random_order", "needs"]

T = TypeVar("T")

UNLIMITED = Cost(calls=math.inf, tokens=math.inf, judge_s=math.inf)


@dataclass
class Transcript:
    """One case's transcript and account, in the order of the case."""

    case: Case
    judge: Rater
    rng: np.random.Generator
    limit: Cost = UNLIMITED
    said: list[Critique] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    last: Verdict | None = None
    """What the judge said last."""

    def __post_init__(self) -> None:
        order, self._judging, self._helping = self.rng.spawn(3)
        self._swapped = bool(order.integers(2))

    def affords(self, calls: int) -> bool:
        """Whether so many calls of helpers, and the judge's after them, keep within the limit."""
        spent, limit = self.cost, self.limit
        enough = spent.calls + calls + 1 <= limit.calls
        return enough and spent.tokens < limit.tokens and spent.judge_s < limit.judge_s

    def criticise(
        self, helper: Helper, responses: Sequence[Response], *, round: int = 0
    ) -> list[Critique]:
        """Critiques of the responses, booked but not yet shown (see `show`)."""
        (rng,) = self._helping.spawn(1)
        try:
            found = [replace(c, round=round) for c in helper.critique(responses, rng=rng)]
        except JudgeError as error:
            found = [_failed(r, error, round) for r in responses]
        found = [verified(critique, self.case.source) for critique in found]
        self._book(found)
        return found

    def argue(self, debater: Debater, side: int, *, round: int) -> Critique:
        """One speech for a side, booked but not yet shown."""
        (rng,) = self._helping.spawn(1)
        try:
            speech = debater.argue(self.case, side=side, said=tuple(self.said), rng=rng)
        except JudgeError as error:
            speech = _failed(self.case.responses[side], error, round, in_favour=True)
        speech = verified(replace(speech, round=round), self.case.source)
        self._book([speech])
        return speech

    def show(self, critiques: Sequence[Critique]) -> None:
        """Enter what was said into the transcript; the judge sees it when consulted next."""
        for critique in critiques:
            self.said.append(critique)
            self.turns.append(
                Turn(
                    speaker=critique.helper,
                    text=critique.text,
                    round=critique.round,
                    side=int(critique.response.key == self.case.second.key),
                    in_favour=critique.in_favour,
                    quotes=critique.quotes,
                    problem=critique.problem,
                )
            )

    def consult(self, *, round: int = 0) -> Verdict:
        """The judge's view after all that was shown; undecided where the judge fails."""
        rng = copy.deepcopy(self._judging)
        try:
            verdict = _ask(self.judge, self.case, tuple(self.said), rng=rng, swapped=self._swapped)
        except JudgeError as error:
            verdict = _undecided(str(error))
        self.cost += replace(verdict.cost, calls=max(1, verdict.cost.calls))
        self.turns.append(
            Turn(
                speaker="judge",
                text=verdict.text,
                round=round,
                belief=verdict.belief,
                problem=verdict.reason,
            )
        )
        self.last = verdict
        return verdict

    def conclude(self) -> Verdict:
        """The judge's last verdict with the whole account; consults it if it has not spoken yet."""
        if self.last is None and self.affords(0):
            self.consult()
        verdict = self.last or _undecided("the budget allowed no judgement")
        return replace(
            verdict,
            critiques=tuple(self.said),
            cost=self.cost,
            transcript=tuple(self.turns),
        )

    def _book(self, critiques: Sequence[Critique]) -> None:
        self.cost += Cost(calls=len(critiques), tokens=sum(c.num_tokens for c in critiques))


def in_random_order(
    case: Case,
    *,
    judge: Rater,
    critiques: tuple[Critique, ...] = (),
    rng: np.random.Generator,
) -> Verdict:
    """Ask the judge once with the order drawn at random; the verdict speaks of the case's order."""
    swapped = bool(rng.integers(2))
    return _ask(judge, case, critiques, rng=rng, swapped=swapped)


def needs(helper: T | None, verb: str, protocol: str) -> T:
    """The helper, if there is one that can do its part; InputError if not."""
    if helper is not None and hasattr(helper, verb):
        return helper
    raise InputError(
        f"{protocol} needs a helper that can {verb}",
        got="none" if helper is None else type(helper).__name__,
        do="pass another helper=…, or use direct",
    )


def _ask(
    judge: Rater,
    case: Case,
    critiques: tuple[Critique, ...],
    *,
    rng: np.random.Generator,
    swapped: bool,
) -> Verdict:
    shown = case.mirrored if swapped else case
    verdict = judge.compare(*shown.responses, critiques=critiques, rng=rng)
    return verdict.mirrored if swapped else verdict


def _undecided(reason: str) -> Verdict:
    return Verdict(preference=Preference.UNDECIDED, rater="judge", reason=reason)


def _failed(
    response: Response, error: JudgeError, round: int, *, in_favour: bool = False
) -> Critique:
    return Critique(
        response=response,
        text="",
        flaws=None,
        helper="helper",
        round=round,
        in_favour=in_favour,
        problem=str(error),
    )
