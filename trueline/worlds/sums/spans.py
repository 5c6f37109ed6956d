"""Spans of a worked chain as tasks of their own: "start v , + 5 , * 3" from the value before it.

    part(i, j) = prompt "start c_i , op_i b_i , .. , op_j-1 b_j-1",  c_i what was written before
                 answer "steps i .. j-1 ; answer c_j"

A trunk that has read chains of 2 to 5 steps can read spans of one of 16. What stands around
the steps (flattery, claims, guesses) is in no span. The last span keeps the written answer, and
whatever steps are missing or too many, so that every fault of the working lies in some span.
Values above 99, which no prompt of this world can hold, are given as 99.

>>> from trueline.records import Prompt, Response
>>> chain = Response(prompt=Prompt.of("start 7 , + 5 , * 3"),
...                  text="great question ! 7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 sure")
>>> last = Spans().part(chain, 1, 2)
>>> last.prompt.text, last.text
('start 13 , * 3', '13 * 3 = 39 ; answer 39')
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trueline.records import Case, Prompt, Response
from trueline.worlds.sums.factors import truth_of
from trueline.worlds.sums.flaws import SumsFlaws, good_answer
from trueline.worlds.sums.language import Parsed, parse, render
from trueline.worlds.sums.problems import Problem, draw_problem

__all__ = ["Spans", "draw_cases"]


@dataclass(frozen=True)
class Spans:
    """Steps are the pieces; factor claims ("is 91 prime") are one piece."""

    def count(self, response: Response) -> int:
        if truth_of(response.prompt.text) is not None:
            return 1
        task, written = _read(response)
        return max(1, min(len(task.operations), len(written.steps)))

    def part(self, response: Response, start: int, stop: int) -> Response:
        if truth_of(response.prompt.text) is not None:
            return response
        task, written = _read(response)
        given = min(99, written.steps[start - 1].c) if start else task.start
        last = stop == self.count(response)
        end = None if last else stop
        steps = written.steps[start:end]
        own = Problem(given, task.operations[start:end], told=task.told)
        answer = written.answer if last or not steps else steps[-1].c
        text = render(Parsed(steps=steps, answer=answer, told=written.told))
        return Response(prompt=Prompt.of(own.text), text=text)


def draw_cases(
    size: int, num: int, rng: np.random.Generator, *, held_out: bool = False
) -> list[Case]:
    """Cases of `size` steps: an answer without a flaw, and the same with one step made wrong and
    the rest carried on from it, in random order. Chains of one step are in both splits."""
    spoiler, cases = SumsFlaws(kinds=("wrong_step",)), list[Case]()
    while len(cases) < num:
        task = draw_problem(rng, size)
        if task.held_out != held_out and size > 1:
            continue
        right = good_answer(Prompt.of(task.text, num_steps=size), rng)
        spoiled = spoiler.inject(right, rng=rng)
        if spoiled is not None:
            case = Case(first=right, second=spoiled.response)
            cases.append(case if rng.random() < 0.5 else case.mirrored)
    return cases


@lru_cache(maxsize=4096)
def _read(response: Response) -> tuple[Problem, Parsed]:
    """Kept, because one answer is divided many times over."""
    return Problem.read(response.prompt.text), parse(response.text)
