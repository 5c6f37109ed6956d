"""Reward for proofs: every step follows from one or two named earlier ones.

The prompt's meta holds a list of premises, named P1, P2, ... in order, and a conclusion. An answer
proves it by numbered lines, each with the names of what it rests on in brackets; the last one is
the conclusion. Other lines are read as remarks.

    1. q           [P1, P3]        premises: p -> q, q -> r, p
    2. r           [P2, 1]         conclusion: r

A formula is made of variables, not, and, or, ->, <-> (and ~ ! & | => for some) and parentheses.
z3 (de Moura & Bjørner 2008) checks each step from the formulas it names alone; so that it does not
do the proving, a step names at most two formulas and at most `max_atoms` variables stand in all.

A prompt without a conclusion, with formulas that cannot be read, or with premises that contradict
one another leaves the row unscored; all else that is no proof is 0.

>>> from trueline.records import Prompt
>>> ask = Prompt.of("?", premises=["p -> q", "p"], conclusion="q")
>>> Proof().score([ask, ask], ["1. q [P1, P2]", "1. q"]).mean
array([1., 0.])
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, from_meta, needs

__all__ = ["Proof"]

_STEP = re.compile(
    r"^[ \t]*(\w+)[.):][ \t]+([^\n\[\]]+?)[ \t]*\[([^\n\[\]]*)\][ \t]*\.?[ \t]*$", re.M
)
_SYMBOL = re.compile(r"\s*([A-Za-z]\w*|<->|<=>|->|=>|[()~!&|¬∧∨→↔])")
_SAME = {
    "&": "and", "∧": "and", "|": "or", "∨": "or", "~": "not", "!": "not", "¬": "not", "=>": "->",
    "→": "->", "<=>": "<->", "↔": "<->",
}  # fmt: skip
_PULL = {"<->": 1, "->": 2, "or": 3, "and": 4}
_NOT, _MOST_SYMBOLS, _EFFORT = 5, 100, 1_000_000
"""How strongly `not` binds; symbols of a formula; z3's work for a step, alike on all machines."""


class _Unreadable(ValueError):
    """Not a formula."""


@dataclass(frozen=True, kw_only=True)
class Proof(Rule):
    """1 if the response proves the prompt's conclusion from its premises in small steps."""

    premises: str = "premises"
    """Key of the prompt's meta: a list of formulas."""
    conclusion: str = "conclusion"
    """Key of the prompt's meta: a formula."""
    max_atoms: int = 4
    """Distinct variables in a step and what it names."""

    def __post_init__(self) -> None:
        needs("z3")

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0, 0.0, or what is wrong with the prompt."""
        prompt = response.prompt
        goal, given = from_meta(prompt, self.conclusion), from_meta(prompt, self.premises) or ()
        if goal is None:
            return f"the prompt's meta holds no {self.conclusion!r}"
        reader = _Reader()
        premises = [given] if isinstance(given, str) else given
        try:
            known = {f"P{i}": reader.read(str(one)) for i, one in enumerate(premises, start=1)}
            wanted = reader.read(str(goal))
        except _Unreadable as error:
            return f"the prompt's formulas cannot be read: {error}"
        if reader.follows([*known.values()], reader.false, effort=20 * _EFFORT) is not False:
            return "the premises contradict one another, or cannot be decided"
        last = None
        for name, formula, cited in _STEP.findall(response.text):
            last = None if name in known else self._step(formula, cited, known, reader)
            if last is None:
                return 0.0
            known[name] = last
        return float(last is not None and last.eq(wanted))

    def _step(self, formula: str, cited: str, known: dict[str, Any], reader: _Reader) -> Any:
        """Return the formula of a step that follows from what it cites, None for any other."""
        names = [one.strip() for one in cited.split(",")]
        if not 1 <= len(names) <= 2 or not all(name in known for name in names):
            return None
        rests_on = [known[name] for name in names]
        try:
            step = reader.read(formula)
        except _Unreadable:
            return None
        small = len(_variables([*rests_on, step])) <= self.max_atoms
        return step if small and reader.follows(rests_on, step, effort=_EFFORT) else None


class _Reader:
    """Reads formulas into one z3 context: by operator precedence (Pratt 1973), never as code."""

    def __init__(self) -> None:
        import z3

        self.z3, self.context = z3, z3.Context()
        self.false = z3.BoolVal(False, self.context)
        self.signs: dict[str, Callable[[Any, Any], Any]] = {
            "and": z3.And, "or": z3.Or, "->": z3.Implies, "<->": operator.eq,
        }  # fmt: skip

    def follows(self, premises: list[Any], conclusion: Any, *, effort: int) -> bool | None:
        """Return whether the conclusion follows; None if that takes more than this effort."""
        solver = self.z3.Solver(ctx=self.context)
        solver.set("rlimit", effort)
        solver.add(*premises, self.z3.Not(conclusion))
        return {"unsat": True, "sat": False}.get(str(solver.check()))

    def read(self, text: str) -> Any:
        """Return the truth value that a formula stands for."""
        self.symbols: list[str] = []
        at, text = 0, text.strip()
        while at < len(text):
            match = _SYMBOL.match(text, at)
            if match is None or len(self.symbols) >= _MOST_SYMBOLS:
                raise _Unreadable(f"{text[:40]!r} is too long, or has an unknown sign")
            self.symbols.append(_SAME.get(match[1], match[1]))
            at = match.end()
        self.symbols.reverse()
        formula = self._formula(0)
        if self.symbols:
            raise _Unreadable(f"{text[:40]!r} goes on after its end")
        return formula

    def _formula(self, pull: int) -> Any:
        left = self._first()
        while self.symbols and _PULL.get(self.symbols[-1], 0) > pull:
            sign = self.symbols.pop()
            # "p -> q -> r" is "p -> (q -> r)"; all others bind to the left.
            left = self.signs[sign](left, self._formula(_PULL[sign] - (sign == "->")))
        return left

    def _first(self) -> Any:
        symbol = self.symbols.pop() if self.symbols else ""
        if symbol == "(":
            inner = self._formula(0)
            if not self.symbols or self.symbols.pop() != ")":
                raise _Unreadable("a parenthesis is not closed")
            return inner
        if symbol == "not":
            return self.z3.Not(self._formula(_NOT))
        if symbol in _PULL or not re.fullmatch(r"\w+", symbol):
            raise _Unreadable(f"a formula cannot begin with {symbol!r}")
        return self.z3.Bool(symbol, self.context)


def _variables(formulas: Sequence[Any]) -> set[str]:
    names, queue = set(), list(formulas)
    while queue:
        formula = queue.pop()
        queue += formula.children()
        names |= set() if formula.children() else {str(formula)}
    return names
