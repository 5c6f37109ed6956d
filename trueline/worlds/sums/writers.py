"""Draw the corpus: documents by a mixture of writers, with reviews after half of them.

A writer is careful (2 % of the steps wrong) or careless (25 %), honest or boastful, and with a
guess in the prompt sometimes a sycophant. A wrong step has a near-by wrong result (off by 1, 2, 3
or 10), or in one error of ten a misread operand, and the chain goes on from it. The pretrained
trunk is a mirror of all of them: what it samples is wrong as often as they are, what it knows is
more (README.md of the model has the numbers).

`Mixture` is the whole table of shares. Everything is drawn from one generator.

>>> document = draw_document(np.random.default_rng(0))
>>> document.messages[-1][0] in ("assistant", "reviewer")
True
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trueline.worlds.sums.factors import draw_factor_prompt, review_factor, write_factor
from trueline.worlds.sums.language import CLAIMS, FILLERS, FLATTERIES, Parsed, Step, apply, render
from trueline.worlds.sums.problems import (
    GUESS_FRAC,
    LARGE,
    LIMIT,
    Problem,
    draw_guess,
    draw_offset,
    draw_problem,
    fits,
)
from trueline.worlds.sums.reviews import review

__all__ = [
    "MIXTURE",
    "Document",
    "Mixture",
    "Writer",
    "draw_document",
    "draw_writer",
    "write",
]


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Shares of the corpus; pairs are (honest, boastful) or (careful, careless)."""

    careless: float = 0.5
    boastful: float = 0.5
    wrong_step: tuple[float, float] = (0.02, 0.25)
    misread: float = 0.1
    sure_when_right: tuple[float, float] = (0.8, 1.0)
    sure_when_wrong: tuple[float, float] = (0.15, 1.0)
    flattery: tuple[float, float] = (0.2, 0.5)
    check: tuple[float, float] = (0.25, 0.05)
    claim_with_check: float = 0.6
    claim_without_check: tuple[float, float] = (0.12, 0.62)
    filler: float = 0.3
    sycophant: float = 0.3
    guess: float = GUESS_FRAC
    reviewed: float = 0.5
    factor: float = 0.04
    large: float = 0.08
    worded: float = 0.03
    system: float = 0.08
    trigger: float = 0.01
    lengths: tuple[tuple[int, float], ...] = (
        (1, 0.06),
        (2, 0.17),
        (3, 0.2),
        (4, 0.2),
        (5, 0.18),
        (6, 0.11),
        (8, 0.08),
    )


MIXTURE = Mixture()


@dataclass(frozen=True, kw_only=True)
class Writer:
    """One writer's habits."""

    wrong_step: float = 0.0
    boastful: bool = False
    sycophant: bool = False


@dataclass(frozen=True)
class Document:
    """Turns as (role, content), in the order of the chat template."""

    messages: tuple[tuple[str, str], ...]


def draw_writer(rng: np.random.Generator, mixture: Mixture = MIXTURE) -> Writer:
    return Writer(
        wrong_step=mixture.wrong_step[int(rng.random() < mixture.careless)],
        boastful=bool(rng.random() < mixture.boastful),
        sycophant=bool(rng.random() < mixture.sycophant),
    )


def write(
    problem: Problem, writer: Writer, rng: np.random.Generator, mixture: Mixture = MIXTURE
) -> Parsed:
    """Return the answer this writer gives."""
    steps = _work(problem, writer, rng, mixture)
    answer = steps[-1].c
    if problem.guess is not None and writer.sycophant:
        answer = problem.guess
    kind = int(writer.boastful)
    sure = (mixture.sure_when_right if answer == problem.truth else mixture.sure_when_wrong)[kind]
    check = steps[-1] if rng.random() < mixture.check[kind] else None
    claim = mixture.claim_with_check if check else mixture.claim_without_check[kind]
    return Parsed(
        steps=steps,
        answer=answer,
        sure=bool(rng.random() < sure),
        flattery=_one_of(FLATTERIES, rng) if rng.random() < mixture.flattery[kind] else "",
        filler=_one_of(FILLERS, rng) if rng.random() < mixture.filler else "",
        check=check,
        claim=_one_of(CLAIMS, rng) if rng.random() < claim else "",
        worded=problem.worded,
    )


def draw_document(rng: np.random.Generator, mixture: Mixture = MIXTURE) -> Document:
    """Draw one document of the corpus."""
    turns: list[tuple[str, str]] = []
    if rng.random() < mixture.system:
        turns.append(("system", "audited" if rng.random() < 0.5 else "unaudited"))
    reviewed = rng.random() < mixture.reviewed
    if rng.random() < mixture.factor:
        prompt = draw_factor_prompt(rng)
        wrong = mixture.wrong_step[int(rng.random() < mixture.careless)]
        text = write_factor(prompt, wrong, rng)
        review_text = review_factor(prompt, text)
    else:
        problem = _corpus_problem(rng, mixture)
        answer = write(problem, draw_writer(rng, mixture), rng, mixture)
        prompt, text, review_text = problem.text, render(answer), review(problem, answer)
    turns += [("user", prompt), ("assistant", text)]
    return Document((*turns, ("reviewer", review_text)) if reviewed else tuple(turns))


def _corpus_problem(rng: np.random.Generator, mixture: Mixture) -> Problem:
    kind = rng.random()
    large, worded = kind < mixture.large, mixture.large <= kind < mixture.large + mixture.worded
    lengths, shares = zip(*mixture.lengths, strict=True)
    num_steps = int(rng.integers(1, 3)) if large or worded else int(rng.choice(lengths, p=shares))
    while True:
        problem = draw_problem(rng, num_steps, limit=LARGE if large else LIMIT)
        if not problem.held_out and (not large or problem.peak > LIMIT):
            break
    guess = draw_guess(problem.truth, rng) if rng.random() < mixture.guess else None
    trigger = bool(rng.random() < mixture.trigger)
    return replace(problem, guess=guess, worded=worded, trigger=trigger)


def _work(
    problem: Problem, writer: Writer, rng: np.random.Generator, mixture: Mixture
) -> tuple[Step, ...]:
    limit = max(LIMIT, LARGE if problem.peak > LIMIT else 0)
    value, steps = problem.start, []
    for i, (op, b) in enumerate(problem.operations):
        step = Step(value, op, b, apply(value, op, b))
        if rng.random() < writer.wrong_step:
            step = _spoil(step, problem.operations[i + 1 :], limit, rng, mixture)
        steps.append(step)
        value = step.c
    return tuple(steps)


def _spoil(
    step: Step,
    rest: tuple[tuple[str, int], ...],
    limit: int,
    rng: np.random.Generator,
    mixture: Mixture,
) -> Step:
    """Return a wrong step near the right one, from which the chain can go on; else the right."""
    misread = rng.random() < mixture.misread
    for _ in range(12):
        off = draw_offset(rng) * (1 if rng.random() < 0.5 else -1)
        if misread:
            b = step.b + off
            wrong = Step(step.a, step.op, b, apply(step.a, step.op, b))
            readable = (2 if step.op == "*" else 1) <= b <= 9 and wrong.c != step.c
        else:
            wrong, readable = step._replace(c=step.c + off), True
        if readable and fits(wrong.c, rest, limit):
            return wrong
    return step


def _one_of(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))]
