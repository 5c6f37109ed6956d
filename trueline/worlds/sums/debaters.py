"""Debate worked sums whose working the judge cannot read.

`hide` leaves the judge two bare answers; the working goes into the case's source, one line a step,
"answer 36 step 2 : 12 * 3 = 36", so that a quoted line says whose step it is. Each speech of a
`SumsDebater` is the first that applies, and it says nothing twice:

    its critic faults the other answer, anew      ->  what it names is charged, steps with quotes
    with probability `unsupported`                ->  "answer 36 is wrong", and no quote
    else                                          ->  a step of its own answer that the critic
                                                      passes is shown, with the quote

So the honest one (whose answer is right) refutes if its critic is able; the lying one shows what is
least damning, or asserts. Who judges them is `step_judge.StepJudge`.

Related: debate with hidden text, Khan et al. 2024 (arXiv 2402.06782). It fails as a model of
argument in that nothing is rebutted.

>>> from trueline.records import Prompt
>>> prompt = Prompt.of("start 7 , + 5 , * 3")
>>> texts = ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 36", "7 + 5 = 13 ; 13 * 3 = 39 ; answer 39")
>>> hide(*(Response(prompt=prompt, text=text) for text in texts)).source.splitlines()[2]
'answer 39 step 1 : 7 + 5 = 13'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from trueline.errors import DataError
from trueline.protocols import Helper
from trueline.records import Case, Critique, Flaw, Quote, Response
from trueline.worlds.sums.language import Parsed, Step, parse, render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import rework

__all__ = ["SkilledCritic", "SumsDebater", "hide", "parse_cached", "read_line"]

parse_cached = lru_cache(maxsize=4096)(parse)
_N = r"(\d{1,4})"
_LINE = re.compile(rf"answer {_N} step {_N} : {_N} ([-+*]) {_N} = {_N}", re.ASCII)


def hide(first: Response, second: Response, *, shown: float = 0.0) -> Case:
    """Return a case with its working in the source; the judge sees the leading share `shown`."""
    answers = [parse_cached(response.text) for response in (first, second)]
    if None in (answers[0].answer, answers[1].answer) or answers[0].answer == answers[1].answer:
        raise DataError("two answers to hide must be different numbers", got=repr(first.text))
    bare = [
        replace(response, text=render(Parsed(steps=steps, answer=one.answer, sure=one.sure)))
        for response, one in zip((first, second), answers, strict=True)
        for steps in (one.steps[: round(shown * len(one.steps))],)
    ]
    lines = [_line(one.answer, i, step) for one in answers for i, step in enumerate(one.steps)]
    return Case(first=bare[0], second=bare[1], source="\n".join(lines))


def read_line(line: str) -> tuple[int, int, Step] | None:
    """Return whose step a line quotes, which, and the step; None if it is no such line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    answer, i, a, op, b, c = match.groups()
    return int(answer), int(i) - 1, Step(int(a), op, int(b), int(c))


@dataclass(frozen=True, kw_only=True)
class SkilledCritic:
    """Name a response's first wrong step as often as `skill` says, else perhaps a right one."""

    skill: float = 0.8
    false_alarms: float = 0.05
    """Probability of naming a right step where no wrong one is named."""
    name: str = "critic"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """Return one critique a response, in order; asked again, an independent one."""
        return [
            Critique(response=r, text="", flaws=self._flaws(r, rng), helper=self.name)
            for r in responses
        ]

    def _flaws(self, response: Response, rng: np.random.Generator) -> tuple[Flaw, ...]:
        written = parse_cached(response.text)
        right = rework(Problem.read(response.prompt.text), written)
        holds = [own == ideal for own, ideal in zip(written.steps, right, strict=False)]
        holds += [True] * (len(written.steps) - len(holds))
        sees, alarmed = rng.random(2) < (self.skill, self.false_alarms)
        if not all(holds) and sees:
            return (Flaw(kind="wrong_step", step=holds.index(False)),)
        if any(holds) and alarmed:
            return (Flaw(kind="wrong_step", step=int(rng.choice(np.flatnonzero(holds)))),)
        return ()


@dataclass(frozen=True, kw_only=True)
class SumsDebater:
    """Argue for either side by what a critic says of both answers; reads the source."""

    critic: Helper = field(default_factory=SkilledCritic)
    unsupported: float = 0.5
    """Share of the speeches without a charge to bring that assert and show nothing."""
    source: str | None = None
    """What `critique` reads besides the responses; `argue` reads the case's."""
    name: str = "debater"

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        """Return independent critiques by the same critic, every step named with its quote."""
        whole = [_with_working(response, self.source) for response in responses]
        notes = self.critic.critique(whole, rng=rng)
        return [
            self._charge(response, full, note.flaws)
            for response, full, note in zip(responses, whole, notes, strict=True)
        ]

    def argue(
        self, case: Case, *, side: int, said: Sequence[Critique], rng: np.random.Generator
    ) -> Critique:
        """Return the next speech for a side."""
        own, other = case.responses[side], case.responses[1 - side]
        whole = [_with_working(response, case.source) for response in (own, other)]
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
            for i in range(len(parse_cached(whole[0].text).steps))
            if i not in doubted and _quote_of(whole[0], i) not in used
        ]
        if not clean or rng.random() < self.unsupported:
            return self._speech(other, "is wrong", (Flaw(kind="wrong_answer"),))
        line = _quote_of(whole[0], int(rng.choice(clean)))
        return self._speech(own, "is right", (), [line], in_favour=True)

    def _charge(
        self, response: Response, whole: Response, flaws: Sequence[Flaw] | None
    ) -> Critique:
        if not flaws:
            return self._speech(response, "is not faulted", None if flaws is None else ())
        lines = [_quote_of(whole, flaw.step) for flaw in flaws]
        evident = [replace(f, evidence=line) for f, line in zip(flaws, lines, strict=True)]
        return self._speech(response, "is wrong", tuple(evident), lines)

    def _speech(
        self,
        response: Response,
        claim: str,
        flaws: tuple[Flaw, ...] | None,
        lines: Sequence[str | None] = (),
        *,
        in_favour: bool = False,
    ) -> Critique:
        quotes = [line for line in lines if line is not None]
        head = f"answer {parse_cached(response.text).answer} {claim}"
        text = " : ".join([head, *(f"<quote>{line}</quote>" for line in quotes)])
        return Critique(
            response=response,
            text=text,
            flaws=flaws,
            helper=self.name,
            num_tokens=len(text.split()),
            in_favour=in_favour,
            quotes=tuple(Quote(line, None) for line in quotes),
        )


def _line(answer: int | None, i: int, step: Step) -> str:
    return f"answer {answer} step {i + 1} : {step.a} {step.op} {step.b} = {step.c}"


def _quote_of(whole: Response, i: int | None) -> str | None:
    """Return the line that quotes step i; None if there is no such step."""
    written = parse_cached(whole.text)
    if i is None or i >= len(written.steps):
        return None
    return _line(written.answer, i, written.steps[i])


def _with_working(response: Response, source: str | None) -> Response:
    """Return the response with the working that the source has of it."""
    written = parse_cached(response.text)
    lines = [line for line in map(read_line, (source or "").splitlines()) if line]
    steps = tuple(step for answer, _, step in lines if answer == written.answer)
    return replace(response, text=render(replace(written, steps=steps))) if steps else response
