"""Divide a worked chain into spans, each a problem that starts from the value before it.

    part(i, j) = prompt "start c_i , op_i b_i , .. , op_j-1 b_j-1",  c_i what was written before
                 answer "steps i .. j-1 ; answer c_j"

A trunk that has read chains of 2 to 5 steps can read spans of one of 16. What stands around
the steps (flattery, claims, guesses) is in no span. The last span keeps the written answer, and
whatever steps are missing or too many, so that every fault of the working lies in some span.
Values above 99, which no prompt of this world can hold, are given as 99.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from trueline.records import Prompt, Response
from trueline.worlds.sums.language import Parsed, parse, render
from trueline.worlds.sums.problems import Problem

__all__ = ["Spans"]


@dataclass(frozen=True)
class Spans:
    """Divide an answer into its steps."""

    def count(self, response: Response) -> int:
        problem, written = _read(response)
        return max(1, min(len(problem.operations), len(written.steps)))

    def part(self, response: Response, start: int, stop: int) -> Response:
        problem, written = _read(response)
        given = min(99, written.steps[start - 1].c) if start else problem.start
        last = stop == self.count(response)
        end = None if last else stop
        steps = written.steps[start:end]
        own = Problem(given, problem.operations[start:end], worded=problem.worded)
        answer = written.answer if last or not steps else steps[-1].c
        text = render(Parsed(steps=steps, answer=answer, worded=written.worded))
        return Response(prompt=Prompt.of(own.text), text=text)


@lru_cache(maxsize=4096)
def _read(response: Response) -> tuple[Problem, Parsed]:
    """Return problem and answer; cached, because one answer is divided many times over."""
    return Problem.read(response.prompt.text), parse(response.text)
