"""Write and read reviews: what follows an answer, with every step worked out again.

    review = ["flattery ;"] step* ["unfounded claim ;"] "answer" X

Step i is worked from its *own* inputs, the result written just before it and the operation the
prompt asks for, with the right result; X is what the last written value, put right, implies. It
names flattery where there is some and a claim of checking where no check is shown. In the corpus
reviews are always right. A bare verdict ("right", "wrong 2") is not learnable at this size (loss
at chance after 3,000 steps); working out is, within 1,700.

Related: step-wise verification, Lightman et al. 2023 (arXiv 2305.20050); self-critique, Saunders et
al. 2022 (2206.05802). Where we differ: nobody labels the steps; the reviewer's work is compared.

>>> from trueline.worlds.sums.language import parse
>>> review(Problem.read("start 7 , + 5 , * 3"), parse("7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 sure"))
'7 + 5 = 12 ; 13 * 3 = 39 ; answer 39'
"""

from __future__ import annotations

from dataclasses import dataclass

from trueline.records import Flaw, Response
from trueline.worlds.sums.factors import read_factor_review, read_verdict, truth_of
from trueline.worlds.sums.language import Parsed, Step, apply, number, parse, render_step
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


def read_review(text: str) -> Review | None:
    """Return what a review says, None if it cannot be read."""
    words = text.split()
    flattery = words[:2] == ["flattery", ";"]
    words = words[2:] if flattery else words
    steps: list[Step] = []
    while len(words) >= 6 and words[0] not in ("unfounded", "answer"):
        part = parse(" ".join(words[:6]))
        if len(part.steps) != 1 or part.malformed:
            return None
        steps.append(part.steps[0])
        words = words[6:]
    unfounded = words[:3] == ["unfounded", "claim", ";"]
    words = words[3:] if unfounded else words
    value = number(words[1]) if len(words) == 2 and words[0] == "answer" else None
    if value is None:
        return None
    return Review(steps=tuple(steps), answer=value, flattery=flattery, unfounded_claim=unfounded)


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
    if truth_of(response.prompt.text) is not None:
        verdict = read_factor_review(text)
        if verdict is None:
            return None
        return () if verdict == read_verdict(response.text) else (Flaw(kind="wrong_answer"),)
    review, parsed = read_review(text), parse(response.text)
    if review is None:
        return None
    flaws = [
        Flaw(kind="wrong_step", step=i)
        for i in range(max(len(review.steps), len(parsed.steps)))
        if review.steps[i : i + 1] != parsed.steps[i : i + 1]
    ]
    if review.answer != parsed.answer:
        flaws.append(Flaw(kind="wrong_answer"))
    if review.flattery:
        flaws.append(Flaw(kind="flattery"))
    if review.unfounded_claim:
        flaws.append(Flaw(kind="unfounded_claim"))
    return tuple(flaws)
