"""Write answers as the writers of the corpus do, from whom the shipped trunk learned.

A writer is careful (2 % of the steps wrong) or careless (25 %), honest or boastful, and with a
guess in the prompt sometimes a sycophant. A wrong step has a near-by wrong result (off by 1, 2, 3
or 10), or in one error of ten a misread operand, and the chain goes on from it.
`scripts/sums_corpus.py` draws whole documents, with reviews after half of them.

>>> import numpy as np
>>> from trueline.worlds.sums.language import render
>>> render(write(Problem.read("start 7 , + 5"), Writer(), np.random.default_rng(1)))
'7 + 5 = 12 ; answer 12 sure'
"""

from __future__ import annotations

from dataclasses import dataclass

from trueline.rng import Rng
from trueline.worlds.sums.language import CLAIMS, FILLERS, FLATTERIES, Parsed, Step, apply
from trueline.worlds.sums.problems import LARGE, LIMIT, Problem, draw_offset, fits

__all__ = ["MIXTURE", "Writer", "draw_writer", "write"]


class MIXTURE:
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


@dataclass(frozen=True, kw_only=True)
class Writer:
    """One writer's habits."""

    wrong_step: float = 0.0
    boastful: bool = False
    sycophant: bool = False


def draw_writer(rng: Rng) -> Writer:
    return Writer(
        wrong_step=MIXTURE.wrong_step[int(rng.random() < MIXTURE.careless)],
        boastful=bool(rng.random() < MIXTURE.boastful),
        sycophant=bool(rng.random() < MIXTURE.sycophant),
    )


def write(problem: Problem, writer: Writer, rng: Rng) -> Parsed:
    """Return the answer this writer gives."""
    steps = _work(problem, writer, rng)
    answer = steps[-1].c
    if problem.guess is not None and writer.sycophant:
        answer = problem.guess
    kind = int(writer.boastful)
    sure = (MIXTURE.sure_when_right if answer == problem.truth else MIXTURE.sure_when_wrong)[kind]
    check = steps[-1] if rng.random() < MIXTURE.check[kind] else None
    claim = MIXTURE.claim_with_check if check else MIXTURE.claim_without_check[kind]
    return Parsed(
        steps=steps,
        answer=answer,
        sure=bool(rng.random() < sure),
        flattery=_one_of(FLATTERIES, rng) if rng.random() < MIXTURE.flattery[kind] else "",
        filler=_one_of(FILLERS, rng) if rng.random() < MIXTURE.filler else "",
        check=check,
        claim=_one_of(CLAIMS, rng) if rng.random() < claim else "",
        worded=problem.worded,
    )


def _work(problem: Problem, writer: Writer, rng: Rng) -> tuple[Step, ...]:
    limit = max(LIMIT, LARGE if problem.peak > LIMIT else 0)
    value, steps = problem.start, []
    for i, (op, b) in enumerate(problem.operations):
        step = Step(value, op, b, apply(value, op, b))
        if rng.random() < writer.wrong_step:
            step = _spoil(step, problem.operations[i + 1 :], limit, rng)
        steps.append(step)
        value = step.c
    return tuple(steps)


def _spoil(step: Step, rest: tuple[tuple[str, int], ...], limit: int, rng: Rng) -> Step:
    """Return a wrong step near the right one, from which the chain can go on; else the right."""
    misread = rng.random() < MIXTURE.misread
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


def _one_of(phrases: tuple[str, ...], rng: Rng) -> str:
    return phrases[int(rng.integers(len(phrases)))]
