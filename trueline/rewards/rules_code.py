"""Reward for code that gives the right values, run in the `sandbox`.

Elsewhere in this package no text is ever executed; this rule is the exception, and only where a
user names it. Tests are values in the prompt's meta, and are compared outside, where no code runs:

    tests = [{"call": "add(1, 2)", "expected": 3},
             {"setup": "s = Stack(); s.push(1)", "call": "s.pop()", "expected": 1},
             {"call": "add(1, None)", "raises": "TypeError"},
             {"stdin": "1 2\\n", "expected": "3"}]

A call may await; an awaitable value is awaited. Values are compared as JSON shows them, floats to
`tolerance`; what a program prints without blanks at the ends of lines. A value that is missing, for
whatever reason, is wrong; a prompt without such tests, or no sandbox, leaves the row unscored.

A slow machine needs larger limits. Try a solution that you know to be right first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isclose
from typing import Any

from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, from_meta
from trueline.rewards.rules_text import fenced
from trueline.rewards.sandbox import SandboxLimits, needs_bubblewrap, run_calls, run_program
from trueline.rewards.sandbox_child import as_data

__all__ = ["UnitTest"]


@dataclass(frozen=True, kw_only=True)
class UnitTest(Rule):
    """1 if the response's code gives the values that the prompt's tests expect."""

    tests: str = "tests"
    """Key of the prompt's meta: a list of cases."""
    tolerance: float = 1e-6
    """Relative or absolute difference that two floats may have."""
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    """What the code of one response may use up."""

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return a grade for each response; as many run at a time as there are cores."""
        needs_bubblewrap()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(self.grade_one, responses))

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0, 0.0, or why nothing ran."""
        cases = from_meta(response.prompt, self.tests)
        fault = _fault(cases, self.tests)
        if fault:
            return fault
        text = response.text
        code = fenced(text, "python", "py", "python3") if "```" in text else text
        if code is None or not code.strip():
            return 0.0
        for case in (case for case in cases if "stdin" in case):
            result = run_program(code, stdin=str(case["stdin"]), limits=self.limits)
            printed = result.output.decode("utf-8", "replace")
            if not result.ran:
                return result.why
            if result.code != 0 or _lines(printed) != _lines(str(case["expected"])):
                return 0.0
        calls = [case for case in cases if "call" in case]
        return self._calls(code, calls) if calls else 1.0

    def _calls(self, code: str, cases: Sequence[Mapping[str, Any]]) -> Grade:
        pairs = [(str(case.get("setup", "")), str(case["call"])) for case in cases]
        result, answers = run_calls(code, pairs, limits=self.limits)
        if not result.ran:
            return result.why
        if len(answers) != len(cases):
            return 0.0
        return float(all(self._right(c, a) for c, a in zip(cases, answers, strict=True)))

    def _right(self, case: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
        if "raises" in case:
            return bool(answer.get("raised") == case["raises"])
        expected = json.loads(json.dumps(as_data(case["expected"])))
        return "value" in answer and self._equal(expected, answer["value"])

    def _equal(self, a: Any, b: Any) -> bool:
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(map(self._equal, a, b))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(self._equal(a[key], b[key]) for key in a)
        if isinstance(a, float) or isinstance(b, float):
            both = isinstance(a, int | float) and isinstance(b, int | float)
            return both and isclose(a, b, rel_tol=self.tolerance, abs_tol=self.tolerance)
        return bool(a == b)


def _fault(cases: Any, key: str) -> str:
    """Return what is wrong with a prompt's tests, "" if nothing is."""
    if not isinstance(cases, list | tuple):
        return f"the prompt's meta holds no {key!r}"
    for case in cases:
        if not isinstance(case, Mapping) or not ("stdin" in case or "call" in case):
            return f"a test must hold 'call' or 'stdin'; got {case!r:.80}"
        if not ("expected" in case or "raises" in case):
            return f"a test must hold 'expected' or 'raises'; got {case!r:.80}"
        try:
            compile(str(case.get("setup", "")), "<setup>", "exec")
            compile(str(case.get("call", "0")), "<call>", "eval", 0x2000)  # may await
            as_data(case.get("expected"))
        except (SyntaxError, ValueError, TypeError) as error:
            return f"a test cannot be read: {error}; got {case!r:.80}"
    return ""


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
