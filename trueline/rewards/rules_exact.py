r"""The rule on the expected answer: where it stands in a text, and whether it is right.

    final        the last \boxed{...}, else what follows "####" (as in GSM8K), else the whole text
    last_number  the last number; a minus counts if nothing stands before it
    after:MARK   what follows the last MARK, to the end of its line

Two numbers are compared as exact fractions, formulas by math-verify (Kydlíček et al., Hugging Face;
LaTeX by sympy), anything else as words, without regard to case, spaces and a last full stop. An
answer that is not there or is another is 0; no expected answer, or no time left, is unscored.

>>> from trueline.records import Prompt
>>> ask = Prompt.of("3 × 6?", answer="18")
>>> Exact().score([ask, ask, "?"], ["so \\boxed{18.0}", "#### 17", "18"]).mean
array([ 1.,  0., nan])
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from trueline.errors import InputError
from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, from_meta

__all__ = ["NUMBER", "Exact", "equal_formulas", "extracted", "final", "number", "plain"]

ROW_S, START_S = 3, 60
"""Seconds for reading, and for comparing, one pair; and for loading sympy on a busy machine."""
NUMBER = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|\.\d+(?:[eE][-+]?\d{1,3})?"
)
"""An unsigned number as written."""
_ONE = re.compile(rf"([-+]?)\s*\$?({NUMBER})(?:\s*/\s*({NUMBER}))?\s*(%?)")
_WORD = re.compile(r"\\[A-Za-z]+|\b(?:sqrt|sin|cos|tan|log|ln|exp|pi|text)(?![a-z])")
_CHARACTERS = str.maketrans("−–×·⋅∗÷\u00a0\u202f\u2009", "--****/   ")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)(\d))"), r"((\1\3)/(\2\4))"),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
    (re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\(?:left|right|displaystyle)\b"), ""),
    (re.compile(r"\\[,;!: ]|\{,\}(?=\d{3})|\\?\$"), ""),
    (re.compile(r"\\(?:times|cdot)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\%"), "%"),
)


@dataclass(frozen=True, kw_only=True)
class Exact(Rule, kind="exact"):
    """1 if the answer is the one in the prompt's meta, or one of them if it holds a list."""

    expected: str = "answer"
    """Key of the prompt's meta."""
    extract: str = "final"
    """Where the answer stands: final, last_number, or after:MARKER."""

    def __post_init__(self) -> None:
        extracted("", self.extract)

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return a grade for each response; all formulas are compared in one process."""
        grades: list[Grade] = []
        unsure: list[tuple[int, str, str]] = []
        for i, response in enumerate(responses):
            right = from_meta(response.prompt, self.expected)
            if right is None:
                grades.append(f"the prompt's meta holds no {self.expected!r}")
                continue
            # The expected may be a worked solution itself, as the answers of GSM8K are.
            several = right if isinstance(right, list | tuple) else [right]
            answer = extracted(response.text, self.extract)
            same = {one: _same(one, answer) for one in map(final, map(str, several))}
            grades.append(float(True in same.values()))
            if answer is not None and grades[i] == 0.0:
                unsure += [(i, one, answer) for one, equal in same.items() if equal is None]
        verdicts = equal_formulas([pair for _, *pair in unsure])
        for (i, *_), verdict in zip(unsure, verdicts, strict=True):
            grades[i] = verdict if grades[i] == 0.0 else grades[i]
        return grades


def extracted(text: str, extract: str) -> str | None:
    """Return the answer in a text, None if there is none."""
    if extract.startswith("after:") and extract != "after:":
        return _after(extract.removeprefix("after:"), text)
    if extract not in ("final", "last_number"):
        raise InputError("extract must be final, last_number or after:MARKER", got=repr(extract))
    if extract == "final":
        return final(text)
    pattern = rf"(?<![\w.])(?:(?<![\d)%])-)?\\?\$?(?:{NUMBER})(?:/\d+)?%?"
    numbers = re.findall(pattern, plain(text))
    return numbers[-1] if numbers else None


def final(text: str) -> str:
    """Return the last boxed answer, else what follows the last "####", else the whole text."""
    start, depth = text.rfind("\\boxed{"), 0
    for at in range(start + 6, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 7 : at]
    after = _after("####", text)
    return text if after is None else after


def _after(marker: str, text: str) -> str | None:
    _, there, rest = text.rpartition(marker)
    return rest.split("\n", 1)[0] if there else None


def number(text: str) -> Fraction | None:
    """Return the number that a text is ("$1,000.", "1/2", "50%"), None if it is anything else."""
    match = _ONE.fullmatch(plain(text[:500]).strip().removesuffix(".").strip())
    if match is None or len(text) > 500:
        return None
    try:
        over = Fraction(match[3].replace(",", "")) if match[3] else Fraction(1)
        size = Fraction(match[2].replace(",", "")) / over / (100 if match[4] else 1)
    except ZeroDivisionError:
        return None
    return -size if match[1] == "-" else size


def plain(text: str) -> str:
    """Return the text with one sign for each operation, and common LaTeX resolved."""
    text = text.translate(_CHARACTERS)
    for _ in range(5 if "\\" in text or "{" in text or "$" in text else 0):
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


def _same(expected: str, answer: str | None) -> bool | None:
    """Return whether both are equal as words or numbers; None where formulas must be compared."""
    if answer is None:
        return False
    if _words(expected) == _words(answer):
        return True
    a, b = number(expected), number(answer)
    if a is not None and b is not None:
        return a == b
    return None if _is_formula(expected) and _is_formula(answer) else False


def _words(text: str) -> str:
    return " ".join(plain(text).casefold().split()).removesuffix(".").strip()


def _is_formula(text: str) -> bool:
    """Return whether a text is short, holds a digit or a sign, and no word but functions' names."""
    if len(text) > 300 or not re.search(r"[\d\\+*/^=(){}\[\]]", text):
        return False
    return not re.search(r"[^\W\d_]{3}", _WORD.sub("", text))


def equal_formulas(pairs: Sequence[Sequence[str]]) -> list[Grade]:
    """Return 1.0 or 0.0 for each (expected, answer), or why the checker could not tell.

    In a process of its own, which may be ended: math-verify's own time limits are signals, which
    only a main thread may set and which cannot stop one huge power.
    """
    grades: list[Grade] = []
    command = [sys.executable, "-P", "-c", f"{inspect.getsource(_compare)}\n_compare({ROW_S})"]
    while left := pairs[len(grades) :]:
        given, limit_s = json.dumps(left).encode(), START_S + 2 * ROW_S * len(left)
        try:
            done = subprocess.run(command, input=given, stdout=subprocess.PIPE, timeout=limit_s)
            output, why = done.stdout, f"the comparison of formulas ended with {done.returncode}"
        except subprocess.TimeoutExpired as late:
            output, why = late.stdout or b"", "the comparison of formulas took too long"
        answers = [float(line) for line in output.split() if line in (b"0", b"1")][: len(left)]
        # The pair that ended the process goes without a grade, and the others on without it.
        grades += [*answers, *([why] if len(answers) < len(left) else [])]
    return grades


def _compare(row_s: int) -> None:
    """Compare the pairs on standard input and print one answer a line: the other process's work."""
    import importlib
    import json
    import logging
    import re
    import sys

    math_verify = importlib.import_module("math_verify")
    latex = [math_verify.LatexExtractionConfig()]
    logging.disable()
    for pair in json.load(sys.stdin):
        expected, answer = (
            math_verify.parse(
                f"${re.sub(r'[*]{2}', '^', text)}$", extraction_config=latex,
                fallback_mode="no_fallback", parsing_timeout=row_s,
            )
            for text in pair
        )  # fmt: skip
        print(int(math_verify.verify(expected, answer, timeout_seconds=row_s)), flush=True)
