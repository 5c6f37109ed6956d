"""Reward for code that gives the right values, run in the `sandbox`.

The only text that this package ever executes, and only where a user names this rule. Tests are
values in the prompt's meta, and are compared outside, where no code runs:

    tests = [{"call": "add(1, 2)", "expected": 3},
             {"setup": "s = Stack(); s.push(1)", "call": "s.pop()", "expected": 1},
             {"call": "add(1, None)", "raises": "TypeError"},
             {"stdin": "1 2\\n", "expected": "3"}]

A call may await; an awaitable value is awaited. Values are compared as JSON shows them, floats to
1e-6; what a program prints without blanks at the ends of lines. A value that is missing, for
whatever reason, is wrong; a prompt without such tests, or no sandbox, leaves the row unscored. A
slow machine needs larger limits: try a solution that you know to be right first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isclose
from typing import Any

from trueline.errors import InputError
from trueline.records import Response
from trueline.rewards import sandbox
from trueline.rewards.rules import Grade, Rule, from_meta
from trueline.rewards.rules_text import fenced
from trueline.rewards.sandbox import as_data

__all__ = ["UnitTest"]


_KINDS = (("call", "expected"), ("call", "raises"), ("stdin", "expected"))


@dataclass(frozen=True, kw_only=True)
class UnitTest(Rule, kind="unit_test"):
    """1 if the response's code gives the values that the prompt's meta["tests"] expect."""

    cpu_s: int = 5
    """Processor seconds of a process."""
    wall_s: float = 20.0
    """Seconds until all that one response started is ended."""
    memory_mb: int = 512
    """Megabytes of a process."""

    def __post_init__(self) -> None:
        if min(vars(self).values()) <= 0:
            raise InputError("limits must be positive", got=str(self))

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return a grade for each response; as many run at a time as there are cores."""
        sandbox.needs_bubblewrap()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(self.grade_one, responses))

    def grade_one(self, response: Response) -> Grade:
        cases = from_meta(response.prompt, "tests")
        fault = _fault(cases)
        if fault:
            return fault
        text = response.text
        code = fenced(text, "python", "py", "python3") if "```" in text else text
        if code is None or not code.strip():
            return 0.0
        try:
            return float(self._passes(code, cases))
        except sandbox.NotRun as error:
            return str(error)

    def _passes(self, code: str, cases: Sequence[Mapping[str, Any]]) -> bool:
        for case in (case for case in cases if "stdin" in case):
            output, ended = sandbox.run_program(code, stdin=str(case["stdin"]), **vars(self))
            printed = _lines(output.decode("utf-8", "replace"))
            if ended != 0 or printed != _lines(str(case["expected"])):
                return False
        calls = [case for case in cases if "call" in case]
        if not calls:
            return True
        pairs = [(str(case.get("setup", "")), str(case["call"])) for case in calls]
        answers = sandbox.run_calls(code, pairs, **vars(self))
        return bool(answers) and all(map(_right, calls, answers))


def _fault(cases: Any) -> str:
    """Return what is wrong with a prompt's tests, "" if nothing is."""
    if not isinstance(cases, list | tuple):
        return "the prompt's meta holds no 'tests'"
    for case in cases:
        has = set(case) if isinstance(case, Mapping) else set()
        if not any(has >= {*pair} for pair in _KINDS):
            return f"a test must hold both of one of {_KINDS}; got {case!r:.80}"
        try:
            compile(str(case.get("setup", "")), "<setup>", "exec")
            compile(str(case.get("call", "0")), "<call>", "eval", 0x2000)  # may await
            as_data(case.get("expected"))
        except (SyntaxError, ValueError, TypeError, OverflowError) as error:
            return f"a test cannot be read: {error}; got {case!r:.80}"
    return ""


def _right(case: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    if "raises" in case:
        return bool(answer.get("raised") == case["raises"])
    expected = json.loads(json.dumps(as_data(case["expected"])))
    return "value" in answer and _equal(expected, answer["value"])


def _equal(a: Any, b: Any) -> bool:
    match a, b:
        case list(), list():
            return len(a) == len(b) and all(map(_equal, a, b))
        case dict(), dict():
            return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
        case (float(), int() | float()) | (int(), float()):
            try:
                return isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
            except OverflowError:  # an int beyond floats
                return False
    return bool(a == b)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
