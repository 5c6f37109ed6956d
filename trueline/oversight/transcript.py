"""Keep what a protocol needs while it judges a case: the transcript, the judge's beliefs, the cost.

The judge sees the answers in the case's order, or one drawn once, and is given the same stream of
randomness each time it is consulted: one judge who learns more. Quotes are verified before anybody
reads them. A participant that fails (`JudgeError`) is recorded: a helper's failure is a critique
without content, a judge's an undecided verdict. One call is always reserved for the judge.

    help is asked for while   calls + asked + 1 <= limit.calls,  tokens < limit.tokens,
                              judge_s < limit.judge_s

Tokens and seconds are known only afterwards: they can be exceeded by one reply or one look.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from trueline.errors import InputError, JudgeError
from trueline.oversight.quotes import mark_quotes
from trueline.protocols import Debater, Helper, Rater
from trueline.records import Case, Cost, Critique, Preference, Response, Turn, Verdict
from trueline.rng import Rng

__all__ = ["UNLIMITED", "Limited", "Transcript", "require"]

T = TypeVar("T")

UNLIMITED = Cost(calls=math.inf, tokens=math.inf, judge_s=math.inf)


@dataclass(frozen=True, kw_only=True)
class Limited:
    """What all protocols have."""

    limit: Cost = UNLIMITED
    """The most that one case may cost, controls included."""


@dataclass
class Transcript:
    """What was said about one case and what it cost, in the order of the case."""

    case: Case
    judge: Rater
    rng: Rng
    limit: Cost = UNLIMITED
    critiques: list[Critique] = field(default_factory=list)
    """Critiques and speeches that the judge is shown."""
    turns: list[Turn] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    verdict: Verdict | None = None
    """The judge's latest verdict."""

    def __post_init__(self) -> None:
        order, self._judge_rng, self._helper_rng = self.rng.spawn(3)
        drawn = int(order.integers(2))
        self._shown_first = drawn if self.case.shown_first is None else self.case.shown_first

    def can_afford(self, calls: int) -> bool:
        """Return whether so many calls of helpers, then one of the judge, keep within the limit."""
        spent, limit = self.cost, self.limit
        enough = spent.calls + calls + 1 <= limit.calls
        return enough and spent.tokens < limit.tokens and spent.judge_s < limit.judge_s

    def criticise(
        self, helper: Helper, responses: Sequence[Response], *, round: int = 0
    ) -> list[Critique]:
        """Ask for critiques of the responses and charge for them; `show` passes them on."""
        return self._ask(lambda rng: helper.critique(responses, rng=rng), responses, round)

    def argue(self, debater: Debater, side: int, *, round: int) -> Critique:
        """Ask for one speech for a side and charge for it; `show` passes it on."""
        said, own = tuple(self.critiques), [self.case.responses[side]]

        def act(rng: Rng) -> list[Critique]:
            return [debater.argue(self.case, side=side, said=said, rng=rng)]

        return self._ask(act, own, round, in_favour=True)[0]

    def _ask(
        self,
        act: Callable[[Rng], list[Critique]],
        about: Sequence[Response],
        round: int,
        *,
        in_favour: bool = False,
    ) -> list[Critique]:
        """Return what a helper says, its quotes verified; of one that fails, that it failed."""
        (rng,) = self._helper_rng.spawn(1)
        try:
            said = act(rng)
        except JudgeError as error:
            failed = partial(Critique, text="", flaws=None, helper="helper", problem=str(error))
            said = [failed(response=response, in_favour=in_favour) for response in about]
        self.cost += Cost(calls=len(said), tokens=sum(c.num_tokens for c in said))
        marked = [(c, *mark_quotes(c.text, self.case.source)) for c in said]
        return [replace(c, round=round, text=text, quotes=quotes) for c, text, quotes in marked]

    def show(self, critiques: Sequence[Critique]) -> None:
        """Enter critiques into the transcript; the judge reads them when next consulted."""
        for critique in critiques:
            self.critiques.append(critique)
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
        """Ask the judge after everything that was shown; undecided where the judge fails."""
        rng = copy.deepcopy(self._judge_rng)
        try:
            shown = self.case.mirrored if self._shown_first else self.case
            critiques = tuple(self.critiques)
            verdict = self.judge.compare(*shown.responses, critiques=critiques, rng=rng)
            verdict = verdict.mirrored if self._shown_first else verdict
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
        self.verdict = verdict
        return verdict

    def conclude(self) -> Verdict:
        """Return the latest verdict with transcript and cost; consult a judge not asked yet."""
        if self.verdict is None and self.can_afford(0):
            self.consult()
        return replace(
            self.verdict or _undecided("the budget allowed no judgement"),
            critiques=tuple(self.critiques),
            cost=self.cost,
            transcript=tuple(self.turns),
            shown_first=self._shown_first,
        )


def require(helper: T | None, verb: str, protocol: str) -> T:
    """Return the helper if it has the verb its protocol needs; InputError if not."""
    if helper is not None and hasattr(helper, verb):
        return helper
    raise InputError(
        f"{protocol} needs a helper that can {verb}",
        got="none" if helper is None else type(helper).__name__,
        do="pass another helper=…, or use direct",
    )


def _undecided(reason: str) -> Verdict:
    return Verdict(preference=Preference.UNDECIDED, rater="judge", reason=reason)
