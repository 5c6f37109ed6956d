"""Whether two formulas are equal, by math-verify in a process of its own.

Math-verify (Kydlíček et al., Hugging Face) reads LaTeX and plain formulas and compares them with
sympy. Its own time limits are signals, which only a process's main thread may set and which cannot
stop one huge power: hence the process, which this file is run as, and which may be ended.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence

__all__ = ["equal_formulas", "is_formula"]

ROW_S, START_S = 3, 60
"""Seconds for reading, and for comparing, one pair; and for loading sympy on a busy machine."""
_WORD = re.compile(r"\\[A-Za-z]+|\b(?:sqrt|sin|cos|tan|log|ln|exp|pi|text)(?![a-z])")


def is_formula(text: str) -> bool:
    """Return whether a text is short, holds a digit or a sign, and no word but functions' names."""
    has_sign = re.search(r"[\d\\+*/^=(){}\[\]]", text)
    return (
        len(text) <= 300 and bool(has_sign) and not re.search(r"[^\W\d_]{3}", _WORD.sub("", text))
    )


def equal_formulas(pairs: Sequence[tuple[str, str]]) -> list[float | str]:
    """Return 1.0 or 0.0 for each (expected, answer), or why the checker could not tell."""
    grades: list[float | str] = []
    while len(grades) < len(pairs):
        left = pairs[len(grades) :]
        command = [sys.executable, "-P", __file__]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                limit_s = START_S + 2 * ROW_S * len(left)
                output, _ = process.communicate(json.dumps(left), timeout=limit_s)
                why = f"the comparison of formulas ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                why = "the comparison of formulas took too long"
        answers = [json.loads(line) for line in output.splitlines() if line.endswith("]")]
        grades += [float(equal) for (equal,) in answers[: len(left)]]
        # The pair that ended the process goes without a grade, and the others on without it.
        grades += [why] * (len(answers) < len(left))
    return grades


def _compare(pairs: Iterable[tuple[str, str]]) -> None:
    """Compare pairs and print one answer a line: the work of the other process."""
    import importlib
    import logging

    math_verify = importlib.import_module("math_verify")
    latex = math_verify.LatexExtractionConfig()
    logging.disable()
    for pair in pairs:
        expected, answer = (
            math_verify.parse(
                f"${re.sub(r'[*]{2}', '^', text)}$",
                extraction_config=[latex],
                fallback_mode="no_fallback",
                parsing_timeout=ROW_S,
            )
            for text in pair
        )
        equal = math_verify.verify(expected, answer, timeout_seconds=ROW_S)
        print(json.dumps([bool(equal)]), flush=True)


if __name__ == "__main__":
    _compare(json.load(sys.stdin))
