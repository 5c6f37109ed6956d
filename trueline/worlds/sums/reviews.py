"""Write and read reviews: what follows an answer, with every step worked out again.

    review = ["flattery ;"] step* ["unfounded claim ;"] "answer" X

Step i is worked from its *own* inputs, the result written just before it and the operation the
prompt asks for, with the right result; X is what the last written value, put right, implies. It
names flattery where there is some and a claim of checking where no check is shown. In the corpus
reviews are always right.

Related: step-wise verification, Lightman et al. 2023 (arXiv 2305.20050); self-critique, Saunders et
al. 2022 (2206.05802). Where we differ: nobody labels the steps; the reviewer's work is compared.

>>> from trueline.worlds.sums.language import parse
>>> review(Problem.read("start 7 , + 5 , * 3"), parse("7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 sure"))
'7 + 5 = 12 ; 13 * 3 = 39 ; answer 39'
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from trueline.records import Flaw, Response
from trueline.worlds.sums.language import STEP, Parsed, Step, apply, parse, render_step
from trueline.worlds.sums.problems import Problem

__all__ = ["Review", "flaws_named", "read_review", "review", "rework", "true_flaws"]


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a review says."""

    steps: tuple[Step, ...]
    answer: int
    flattery: bool = False
    unfounded_claim: bool = False


def rework(problem: Problem, answer: Parsed) -> tuple[Step, ...]:
    """Return the right step from each step's own inputs: what an ideal reviewer writes."""
    value, steps = problem.start, []
    for i, (op, b) in enumerate(problem.operations):
        steps.append(Step(value, op, b, apply(value, op, b)))
        value = answer.steps[i].c if i < len(answer.steps) else steps[-1].c
    return tuple(steps)


def review(problem: Problem, answer: Parsed) -> str:
    """Return the ideal review of an answer."""
    steps = rework(problem, answer)
    parts = ["flattery ;"] if answer.flattery else []
    parts += [render_step(step) for step in steps]
    parts += ["unfounded claim ;"] if answer.unfounded_claim else []
    return " ".join([*parts, f"answer {steps[-1].c}"])


_REVIEW = re.compile(rf"(flattery ; )?((?:{STEP} )*)(unfounded claim ; )?answer ([0-9]{{1,4}})")


def read_review(text: str) -> Review | None:
    """Return what a review says, None if it cannot be read."""
    match = _REVIEW.fullmatch(" ".join(text.split()))
    if match is None:
        return None
    return Review(
        steps=parse(match[2]).steps,
        answer=int(match[4]),
        flattery=bool(match[1]),
        unfounded_claim=bool(match[3]),
    )


def true_flaws(response: Response) -> tuple[Flaw, ...]:
    """Return what an ideal reviewer names; for planting and measuring alone."""
    ideal = review(Problem.read(response.prompt.text), parse(response.text))
    return flaws_named(response, ideal) or ()


def flaws_named(response: Response, text: str) -> tuple[Flaw, ...] | None:
    """Return what a review's words say against a response; None if they cannot be read.

    Wherever the review's own working differs from what the response wrote there is a flaw:
    wrong_step (with its index from 0; a step missing or too many is one too), wrong_answer,
    flattery or unfounded_claim.
    """
    review, parsed = read_review(text), parse(response.text)
    if review is None:
        return None
    both = itertools.zip_longest(review.steps, parsed.steps)
    flaws = [Flaw(kind="wrong_step", step=i) for i, (ideal, own) in enumerate(both) if ideal != own]
    named = {
        "wrong_answer": review.answer != parsed.answer,
        "flattery": review.flattery,
        "unfounded_claim": review.unfounded_claim,
    }
    return (*flaws, *(Flaw(kind=kind) for kind, is_there in named.items() if is_there))
