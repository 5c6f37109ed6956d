"""Debate worked sums whose working the judge cannot read.

`hide` leaves the judge two bare answers; the working goes into the case's source, one line a step,
"answer 36 step 2 : 12 * 3 = 36", so that a quoted line says whose step it is. Each speech of a
`SumsDebater` is the first that applies, and it says nothing twice:

    its critic faults the other answer, anew      ->  what it names is charged, steps with quotes
    with probability `unsupported`                ->  "answer 36 is wrong", and no quote
    else                                          ->  a step of its own answer that the critic
                                                      passes is shown, with the quote

So the honest one (whose answer is right) refutes if its critic is able; the lying one shows what is
least damning, or asserts. `Raters` look at quoted steps alone where they see no working:

    P(right) = s (1 - e) + (1 - s) / 2 in a debate of one round and look, 1/2 unaided,

if a critic sees the wrong step with probability s and never a right one, judges err in a share e of
their looks, and neither tastes nor coin flips nor assertions move them.

Related: debate with hidden text, Khan et al. 2024 (arXiv 2402.06782). It fails as a model of
argument in that nothing is rebutted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trueline.errors import DataError
from trueline.protocols import Helper
from trueline.records import Case, Critique, Flaw, Response
from trueline.rng import Rng
from trueline.worlds.sums.language import Parsed, Step, parse, render

__all__ = ["SumsDebater", "hide", "quoted_steps"]

_N = r"(\d{1,4})"
_LINE = re.compile(rf"answer {_N} step {_N} : ({_N} [-+*] {_N} = {_N})", re.ASCII)


def hide(first: Response, second: Response) -> Case:
    """Return a case with its working in the source; the judge sees answers and certainty."""
    written = [parse(response.text) for response in (first, second)]
    if None in (written[0].answer, written[1].answer) or written[0].answer == written[1].answer:
        raise DataError("two answers to hide must be different numbers", got=repr(first.text))
    bare = [
        replace(response, text=render(Parsed(answer=one.answer, sure=one.sure)))
        for response, one in zip((first, second), written, strict=True)
    ]
    source = "\n".join(line for one in written for line in _lines(one))
    return Case(first=bare[0], second=bare[1], source=source)


def quoted_steps(answer: int | None, critiques: Sequence[Critique]) -> dict[int, Step]:
    """Return an answer's steps that were quoted and found in the source, by index."""
    quotes = [quote.text for c in critiques for quote in c.quotes if quote.found]
    return _steps(answer, quotes)


@dataclass(frozen=True, kw_only=True)
class SumsDebater:
    """Argue for either side by what a critic says of both answers; reads the source."""

    critic: Helper
    unsupported: float = 0.5
    """Share of the speeches without a charge to bring that assert and show nothing."""
    name: str = "debater"

    def argue(self, case: Case, *, side: int, said: Sequence[Critique], rng: Rng) -> Critique:
        """Return the next speech for a side."""
        own, other = case.responses[side], case.responses[1 - side]
        whole = [_with_working(response, case.source) for response in (own, other)]
        doubts, charges = self.critic.critique(whole, rng=rng)
        against = [c for c in said if c.response.key == other.key and not c.in_favour]
        raised = {(flaw.kind, flaw.step) for c in against for flaw in c.flaws or ()}
        fresh = [flaw for flaw in charges.flaws or () if (flaw.kind, flaw.step) not in raised]
        lines, others = (_lines(parse(response.text)) for response in whole)
        if fresh:
            steps = [flaw.step for flaw in fresh if flaw.step is not None]
            shown = [others[i] for i in steps if i < len(others)]
            return self._speech(other, "wrong", tuple(fresh), shown)
        used = {quote.text for speech in said for quote in speech.quotes}
        doubted = {flaw.step for flaw in doubts.flaws or ()}
        clean = [line for i, line in enumerate(lines) if i not in doubted and line not in used]
        if not clean or rng.random() < self.unsupported:
            return self._speech(other, "wrong", (Flaw(kind="wrong_answer"),), [])
        defence = self._speech(own, "right", (), [clean[int(rng.integers(len(clean)))]])
        return replace(defence, in_favour=True)

    def _speech(
        self, response: Response, claim: str, flaws: tuple[Flaw, ...], lines: Sequence[str]
    ) -> Critique:
        head = f"answer {parse(response.text).answer} is {claim}"
        text = " : ".join([head, *(f"<quote>{line}</quote>" for line in lines)])
        num_tokens = len(text.split())
        return Critique(
            response=response, text=text, flaws=flaws, helper=self.name, num_tokens=num_tokens
        )


def _lines(written: Parsed) -> list[str]:
    return [
        f"answer {written.answer} step {i + 1} : {step.a} {step.op} {step.b} = {step.c}"
        for i, step in enumerate(written.steps)
    ]


def _steps(answer: int | None, lines: Sequence[str]) -> dict[int, Step]:
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    return {int(m[2]) - 1: Step.read(m[3]) for m in found if int(m[1]) == answer}


def _with_working(response: Response, source: str | None) -> Response:
    """Return the response with the working that the source has of it."""
    written = parse(response.text)
    steps = _steps(written.answer, (source or "").splitlines())
    whole = render(replace(written, steps=tuple(steps.values())))
    return replace(response, text=whole) if steps else response
