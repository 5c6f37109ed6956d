"""A judge who works out some of the steps that a debate points to, and weighs what came of it.

It works out `looks` steps an answer and round: charged ones first, then those shown in defence,
then any that it sees itself. With one wrong step at place j of a wrong answer,

    P(what it found | wrong) / P(... | right) = sum_j w_j r_j,   r_j = 1 where it did not look,
    r_j = (1 - slip) / slip where step j came out wrong, slip / (1 - slip) where right,

w = `trust` on the steps charged, the rest spread evenly. Its log odds add these up for both
answers, and `assertion` for each answer charged without a step it could look at. Belief is their
sigmoid. A quote that is not in the source counts for nothing.

    one round, one look, source hidden, critic of skill s without false alarms, unsupported = 1:
    P(right): debate s (1 - slip) + (1 - s) / 2, consultancy (1 - s slip) / 2, unaided 1/2

before `flip_share` of all labels become coin flips (trust 0.5, slip < 0.2, assertion 1: `tests`).

Every skill is a number one can set. Selection neglect is built in: a step picked by its defender
counts as much as one met by chance (Koehler & Mercer 2009). A quoted step is not checked against
the step before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.special import expit

from trueline.records import Cost, Critique, Flaw, Preference, Response, Verdict
from trueline.worlds.sums.debaters import parse_cached, read_line
from trueline.worlds.sums.problems import Problem

__all__ = ["StepJudge"]


@dataclass(frozen=True, kw_only=True)
class StepJudge:
    """Judge by working out a few steps of each answer."""

    looks: int = 1
    """Steps worked out an answer and round."""
    slip_share: float = 0.05
    """Share of steps worked out in which it errs; always the same way at one step of one case."""
    flip_share: float = 0.1
    """Share of labels that are coin flips; beliefs are not."""
    trust: float = 0.5
    """Its prior that a step charged is the flaw, if the answer is wrong."""
    assertion: float = 1.0
    """Log odds by which a charge it cannot look at moves it."""
    look_s: float = 8.0
    word_s: float = 0.25

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """Return its view after all critiques; the time is that of the last round alone."""
        flips, coin = rng.random() < self.flip_share, rng.random() < 0.5
        slips = rng.random((2, 64)) < self.slip_share
        views = [
            _View(self, response, rng.permutation(64), slips[i])
            for i, response in enumerate((first, second))
        ]
        ordered = sorted(critiques, key=lambda c: c.round)
        rounds = [list(group) for _, group in groupby(ordered, key=lambda c: c.round)] or [[]]
        for speeches in rounds:
            for view in views:
                view.hear([c for c in speeches if c.response.key == view.response.key])
        gap = views[1].doubt - views[0].doubt
        decided = gap if gap and not flips else 1.0 if coin else -1.0
        texts = [c.text for c in rounds[-1]]
        texts += [first.prompt.text, first.text, second.text] if len(rounds) == 1 else []
        words = sum(len(text.split()) for text in texts)
        looked = sum(view.num_new for view in views)
        return Verdict(
            preference=Preference.FIRST if decided > 0 else Preference.SECOND,
            rater="judge",
            critiques=critiques,
            belief=float(expit(gap)),
            found=tuple(
                (side, Flaw(kind="wrong_step", step=i))
                for side, view in enumerate(views)
                for i, wrong in view.seen.items()
                if wrong
            ),
            cost=Cost(judge_s=words * self.word_s + looked * self.look_s),
        )


class _View:
    """What the judge knows of one answer: which steps it worked out, and how they came out."""

    def __init__(
        self, judge: StepJudge, response: Response, order: np.ndarray, slips: np.ndarray
    ) -> None:
        self.judge, self.response, self.slips = judge, response, slips
        self.problem = Problem.read(response.prompt.text)
        self.answer = parse_cached(response.text)
        self.steps = dict(enumerate(self.answer.steps))
        self.order = [int(i) for i in order]
        self.charged: dict[int, None] = {}
        self.asserted = False
        self.seen: dict[int, bool] = {}
        self.num_new = 0

    def hear(self, speeches: Sequence[Critique]) -> None:
        """Take in one round's speeches about this answer, and look at some steps after them."""
        charges = [(c, self._steps_of(c)) for c in speeches if c.flaws and not c.in_favour]
        named = [i for _, steps in charges for i in steps]
        shown = [i for c in speeches if c.in_favour for i in self._steps_of(c)]
        wanted = dict.fromkeys([*named, *shown, *(i for i in self.order if i in self.steps)])
        new = [i for i in wanted if i not in self.seen][: self.judge.looks]
        for i in new:
            self.seen[i] = self._wrong(i) != self.slips[i % len(self.slips)]
        self.num_new = len(new)
        self.charged |= dict.fromkeys(named)
        for speech, steps in charges:
            caught = any(quote.found is False for quote in speech.quotes)
            self.asserted |= not caught and not any(i in self.seen for i in steps)

    @property
    def doubt(self) -> float:
        """Log odds that the answer is wrong."""
        slip = min(max(self.judge.slip_share, 0.01), 0.5)
        ratio = (1 - slip) / slip
        count = len(self.problem.operations)
        charged = [i for i in self.charged if i < count]
        trust = self.judge.trust if 0 < len(charged) < count else len(charged) / count
        weights = np.full(count, (1 - trust) / max(1, count - len(charged)))
        weights[charged] = trust / max(1, len(charged))
        for i, wrong in self.seen.items():
            if i < count:
                weights[i] *= ratio if wrong else 1 / ratio
        return math.log(weights.sum()) + self.judge.assertion * self.asserted

    def _steps_of(self, speech: Critique) -> list[int]:
        """Return the steps a speech points to that can be looked at; quoted ones become known."""
        steps = [flaw.step for flaw in speech.flaws or () if flaw.step is not None]
        for quote in speech.quotes:
            line = read_line(quote.text)
            if line is not None and quote.found is not False and line[0] == self.answer.answer:
                steps.append(line[1])
                if quote.found:
                    self.steps.setdefault(line[1], line[2])
        return [i for i in steps if i in self.steps]

    def _wrong(self, i: int) -> bool:
        asked = self.problem.operations[i : i + 1]
        step = self.steps[i]
        starts = i > 0 or step.a == self.problem.start
        return not (step.holds and starts and asked == ((step.op, step.b),))
