"""Debaters for worked sums, and a judge who must be shown the working step by step.

`hide` leaves the judge two bare answers; the working goes into the case's source, one line a step,
"answer 36 step 2 : 12 * 3 = 36", so that a quoted line says whose step it is. Each speech of a
`SumsDebater` is the first that applies:

    its critic faults the other answer, anew      ->  what it names is charged, steps with quotes
    with probability `unsupported`                ->  "answer 36 is wrong", and no quote
    else                                          ->  a step of its own answer that the critic
                                                      passes is shown, with the quote

and it says nothing twice. So the honest one (whose answer is right) refutes if its critic
is able; the lying one shows what is least damning, or asserts.

A `SumsJudge` works out `looks` steps an answer and round: charged ones first, then those shown in
defence, then any that it sees itself. With one wrong step at place j of a wrong answer,

    P(what it found | wrong) / P(… | right) = sum_j w_j r_j,    r_j = 1 where it did not look,
    r_j = (1 - slip) / slip where step j came out wrong, slip / (1 - slip) where right,

w = `trust` on the steps charged, the rest spread evenly. Its log odds add these up for both
answers, and `assertion` for each answer charged without a step it could look at. Belief is their
sigmoid. A quote that is not in the source counts for nothing.

    one round, one look, source hidden, critic of skill s without false alarms, unsupported = 1:
    P(right): debate s (1 - slip) + (1 - s) / 2, consultancy (1 - s slip) / 2, unaided 1/2

before `flip_share` of all labels become coin flips (trust 0.5, slip < 0.2, assertion 1: `tests`).

Kin: debate with hidden text, Khan et al. 2024 (2402.06782). Where we differ: every skill is a
number one can set. Selection neglect is built in: a step picked by its defender counts as much as
one met by chance (Koehler & Mercer 2009). It fails as a model of argument in that nothing is
rebutted; and a quoted step is not checked against the step before it.

>>> from trueline.records import Prompt
>>> prompt = Prompt.of("start 7 , + 5 , * 3")
>>> texts = ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 36", "7 + 5 = 13 ; 13 * 3 = 39 ; answer 39")
>>> hide(*(Response(prompt=prompt, text=text) for text in texts)).source.splitlines()[2]
'answer 39 step 1 : 7 + 5 = 13'
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

import numpy as np
from scipy.special import expit

from trueline.errors import DataError
from trueline.protocols import Helper
from trueline.records import (
    Case,
    Cost,
    Critique,
    Flaw,
    Preference,
    Quote,
    Response,
    Verdict,
)
from trueline.worlds.sums.language import Parsed, Step, parse, render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import rework

__all__ = ["SkilledCritic", "SumsDebater", "SumsJudge", "hide"]

_parsed = lru_cache(maxsize=4096)(parse)
_N = r"(\d{1,4})"
_LINE = re.compile(rf"answer {_N} step {_N} : {_N} ([-+*]) {_N} = {_N}", re.ASCII)


def hide(first: Response, second: Response, *, shown: float = 0.0) -> Case:
    """The case with its working in the source; the judge sees the leading share `shown` of it."""
    answers = [_parsed(response.text) for response in (first, second)]
    if None in (answers[0].answer, answers[1].answer) or answers[0].answer == answers[1].answer:
        raise DataError("two answers to hide must be different numbers", got=repr(first.text))
    bare = [
        replace(
            response,
            text=render(
                Parsed(steps=a.steps[: round(shown * len(a.steps))], answer=a.answer, sure=a.sure)
            ),
        )
        for response, a in zip((first, second), answers, strict=True)
    ]
    lines = [_line(a.answer, i, step) for a in answers for i, step in enumerate(a.steps)]
    return Case(first=bare[0], second=bare[1], source="\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class SkilledCritic:
    """Names a response's first wrong step with probability `skill`; if not, or if there is none,
    a right step with probability `false_alarms`."""

    skill: float = 0.8
    false_alarms: float = 0.05
    name: str = "critic"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """One critique a response, in order; asked again, an independent one."""
        return [
            Critique(response=r, text="", flaws=self._flaws(r, rng), helper=self.name)
            for r in responses
        ]

    def _flaws(self, response: Response, rng: np.random.Generator) -> tuple[Flaw, ...]:
        written = _parsed(response.text).steps
        right = rework(Problem.read(response.prompt.text), _parsed(response.text))
        wrong = [
            i for i, pair in enumerate(zip(written, right, strict=False)) if pair[0] != pair[1]
        ]
        good = [i for i in range(len(written)) if i not in wrong]
        sees, alarmed = rng.random(2) < (self.skill, self.false_alarms)
        if wrong and sees:
            return (Flaw(kind="wrong_step", step=wrong[0]),)
        if good and alarmed:
            return (Flaw(kind="wrong_step", step=int(rng.choice(good))),)
        return ()


@dataclass(frozen=True, kw_only=True)
class SumsDebater:
    """Argues for either side by what a critic tells it of both; reads the source."""

    critic: Helper = SkilledCritic()
    unsupported: float = 0.5
    """Share of the speeches without a charge to bring that assert and show nothing."""
    source: str | None = None
    """What `critique` reads besides the responses; `argue` reads the case's."""
    name: str = "debater"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """Independent critiques by the same critic, every step named with its quote."""
        whole = [_whole(response, self.source) for response in responses]
        notes = self.critic.critique(whole, rng=rng)
        return [
            self._charge(response, full, note.flaws)
            for response, full, note in zip(responses, whole, notes, strict=True)
        ]

    def argue(
        self, case: Case, *, side: int, said: Sequence[Critique], rng: np.random.Generator
    ) -> Critique:
        """The next speech for a side."""
        own, other = case.responses[side], case.responses[1 - side]
        whole = [_whole(response, case.source) for response in (own, other)]
        doubts, charges = self.critic.critique(whole, rng=rng)
        raised = {
            (flaw.kind, flaw.step)
            for speech in said
            if speech.response.key == other.key and not speech.in_favour
            for flaw in speech.flaws or ()
        }
        fresh = [flaw for flaw in charges.flaws or () if (flaw.kind, flaw.step) not in raised]
        if fresh:
            return self._charge(other, whole[1], fresh)
        used = {quote.text for speech in said for quote in speech.quotes}
        doubted = {flaw.step for flaw in doubts.flaws or ()}
        clean = [
            i
            for i in range(len(_parsed(whole[0].text).steps))
            if i not in doubted and _quoted(whole[0], i) not in used
        ]
        if not clean or rng.random() < self.unsupported:
            return self._speech(other, "is wrong", (Flaw(kind="wrong_answer"),))
        line = _quoted(whole[0], int(rng.choice(clean)))
        return self._speech(own, "is right", (), line, in_favour=True)

    def _charge(
        self, response: Response, whole: Response, flaws: Sequence[Flaw] | None
    ) -> Critique:
        if not flaws:
            unread = replace(self._speech(response, "is not faulted", ()), flaws=None)
            return unread if flaws is None else replace(unread, flaws=())
        lines = [_quoted(whole, flaw.step) for flaw in flaws]
        evident = [replace(f, evidence=line) for f, line in zip(flaws, lines, strict=True)]
        return self._speech(response, "is wrong", tuple(evident), *lines)

    def _speech(
        self,
        response: Response,
        says: str,
        flaws: tuple[Flaw, ...],
        *lines: str | None,
        in_favour: bool = False,
    ) -> Critique:
        quotes = [line for line in lines if line is not None]
        said = [f"answer {_parsed(response.text).answer} {says}"]
        text = " : ".join([*said, *(f"<quote>{line}</quote>" for line in quotes)])
        return Critique(
            response=response,
            text=text,
            flaws=flaws,
            helper=self.name,
            num_tokens=len(text.split()),
            in_favour=in_favour,
            quotes=tuple(Quote(line, None) for line in quotes),
        )


@dataclass(frozen=True, kw_only=True)
class SumsJudge:
    """Works out some of the steps it is pointed to, and weighs what came of it."""

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
        """Its view after all critiques; the time is that of the last round alone."""
        flips, coin = rng.random() < self.flip_share, rng.random() < 0.5
        slips = rng.random((2, 64)) < self.slip_share
        desks = [
            _Desk(self, response, rng.permutation(64), slips[i])
            for i, response in enumerate((first, second))
        ]
        ordered = sorted(critiques, key=lambda c: c.round)
        rounds = [list(group) for _, group in groupby(ordered, key=lambda c: c.round)] or [[]]
        for group in rounds:
            for desk in desks:
                desk.work([c for c in group if c.response.key == desk.response.key])
        gap = desks[1].doubt - desks[0].doubt
        decided = gap if gap and not flips else 1.0 if coin else -1.0
        texts = [c.text for c in rounds[-1]]
        texts += [first.prompt.text, first.text, second.text] if len(rounds) == 1 else []
        looked = sum(desk.num_new for desk in desks)
        words = sum(len(text.split()) for text in texts)
        return Verdict(
            preference=Preference.FIRST if decided > 0 else Preference.SECOND,
            rater="judge",
            critiques=critiques,
            belief=float(expit(gap)),
            found=tuple(
                (side, Flaw(kind="wrong_step", step=i))
                for side, desk in enumerate(desks)
                for i, wrong in desk.seen.items()
                if wrong
            ),
            cost=Cost(judge_s=words * self.word_s + looked * self.look_s),
        )


class _Desk:
    """What the judge knows of one answer: which steps it has worked out, and how they came out."""

    def __init__(
        self, judge: SumsJudge, response: Response, order: np.ndarray, slips: np.ndarray
    ) -> None:
        self.judge, self.response, self.slips = judge, response, slips
        self.problem, self.answer = Problem.read(response.prompt.text), _parsed(response.text)
        self.steps = dict(enumerate(self.answer.steps))
        self.order = [int(i) for i in order]
        self.charged: dict[int, None] = {}
        self.asserted = False
        self.seen: dict[int, bool] = {}
        self.num_new = 0

    def work(self, speeches: Sequence[Critique]) -> None:
        """One round's speeches about this answer, and what the judge looks at after them."""
        charged = [(c, self._pointed(c)) for c in speeches if c.flaws and not c.in_favour]
        named = [i for _, steps in charged for i in steps]
        shown = [i for c in speeches if c.in_favour for i in self._pointed(c)]
        wanted = dict.fromkeys([*named, *shown, *(i for i in self.order if i in self.steps)])
        new = [i for i in wanted if i not in self.seen][: self.judge.looks]
        for i in new:
            self.seen[i] = self._wrong(i) != self.slips[i % len(self.slips)]
        self.num_new = len(new)
        self.charged |= dict.fromkeys(named)
        for speech, steps in charged:
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

    def _pointed(self, speech: Critique) -> list[int]:
        """The steps a speech points to that can be looked at; quoted ones are learned here."""
        steps = [flaw.step for flaw in speech.flaws or () if flaw.step is not None]
        for quote in speech.quotes:
            line = _read(quote.text)
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


def _line(answer: int | None, i: int, step: Step) -> str:
    return f"answer {answer} step {i + 1} : {step.a} {step.op} {step.b} = {step.c}"


def _read(line: str) -> tuple[int, int, Step] | None:
    """Whose step a line quotes, which, and the step; None if it is no such line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    answer, i, a, op, b, c = found.groups()
    return int(answer), int(i) - 1, Step(int(a), op, int(b), int(c))


def _quoted(whole: Response, i: int | None) -> str | None:
    """The line that quotes step i; None if there is no such step."""
    written = _parsed(whole.text)
    if i is None or i >= len(written.steps):
        return None
    return _line(written.answer, i, written.steps[i])


def _whole(response: Response, source: str | None) -> Response:
    """The response with the working that the source has of it."""
    written = _parsed(response.text)
    lines = [line for line in map(_read, (source or "").splitlines()) if line]
    steps = tuple(step for answer, _, step in lines if answer == written.answer)
    return replace(response, text=render(replace(written, steps=steps))) if steps else response
