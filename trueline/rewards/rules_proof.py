"""Reward for proofs: every step follows from one or two named earlier ones.

The prompt's meta holds a list of premises, named P1, P2, ... in order, and a conclusion. An answer
proves it by numbered lines, each with the names of what it rests on in brackets; the last one is
the conclusion. Other lines are read as remarks.

    1. q           [P1, P3]        premises: p -> q, q -> r, p
    2. r           [P2, 1]         conclusion: r

A formula has not, and, or, ->, <-> (and ~ ! & | => for some), parentheses, and comparisons
(= != < <= > >=) of linear sums of whole numbers. z3 (de Moura & Bjørner 2008) checks each step from
the formulas it names alone; so that it does not do the proving, a step names at most two formulas
and speaks of at most `max_atoms` statements in all.

    0         no step; one that names nothing, itself, a later or an unknown step; that cannot be
              read, is too large or does not follow; a last step other than the conclusion
    unscored  no conclusion in the prompt, one that cannot be read, or premises that contradict

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

from trueline.records import Prompt, Response
from trueline.rewards.rules_grade import Grade, Rule, from_meta, needs

__all__ = ["Proof"]

_STEP = re.compile(
    r"^[ \t]*(\w+)[.):][ \t]+([^\n\[\]]+?)[ \t]*\[([^\n\[\]]*)\][ \t]*\.?[ \t]*$", re.M
)
_SYMBOL = re.compile(
    r"\s*(?:(\d{1,9})|([A-Za-z]\w*)|(<->|<=>|->|=>|<=|>=|!=|==|[-+*()<>=~!&|¬∧∨→↔≤≥≠]))"
)
_SAME = {
    "&": "and", "∧": "and", "|": "or", "∨": "or", "~": "not", "!": "not", "¬": "not", "=>": "->",
    "→": "->", "<=>": "<->", "↔": "<->", "≤": "<=", "≥": ">=", "≠": "!=", "==": "=",
}  # fmt: skip
_PULL = {"<->": 1, "->": 2, "or": 3, "and": 4, "+": 7, "-": 7, "*": 8}
_PULL |= dict.fromkeys(("=", "!=", "<", "<=", ">", ">="), 6)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "+": operator.add, "-": operator.sub, "*": operator.mul,
}  # fmt: skip
_NOT, _MINUS, _MOST_SYMBOLS, _EFFORT = 5, 8, 100, 1_000_000
"""How strongly prefixes bind; symbols of a formula; z3's work for a step, alike on all machines."""


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
    """Distinct statements in a step and what it names: variables, and comparisons of numbers."""

    def __post_init__(self) -> None:
        needs("z3")

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0, 0.0, or what is wrong with the prompt, for each response."""
        return [self._grade(response.prompt, response.text) for response in responses]

    def _grade(self, prompt: Prompt, text: str) -> Grade:
        goal, given = from_meta(prompt, self.conclusion), from_meta(prompt, self.premises) or ()
        if goal is None:
            return f"the prompt's meta holds no {self.conclusion!r}"
        reader = _Reader()
        try:
            known = {
                f"P{i}": reader.read(str(one))
                for i, one in enumerate([given] if isinstance(given, str) else given, start=1)
            }
            wanted = reader.read(str(goal))
        except _Unreadable as error:
            return f"the prompt's formulas cannot be read: {error}"
        if reader.follows([*known.values()], reader.false, effort=20 * _EFFORT) is not False:
            return "the premises contradict one another, or cannot be decided"
        last = None
        for name, formula, cited in _STEP.findall(text):
            names = [one.strip() for one in cited.split(",")]
            if name in known or not 1 <= len(names) <= 2 or not all(n in known for n in names):
                return 0.0
            try:
                last = reader.read(formula)
            except _Unreadable:
                return 0.0
            rests_on = [known[n] for n in names]
            if len(_atoms([*rests_on, last])) > self.max_atoms:
                return 0.0
            if not reader.follows(rests_on, last, effort=_EFFORT):
                return 0.0
            known[name] = last
        return float(last is not None and last.eq(wanted))


class _Reader:
    """Reads formulas into one z3 context: by operator precedence (Pratt 1973), never as code."""

    def __init__(self) -> None:
        import z3

        self.z3, self.context = z3, z3.Context()
        self.false = z3.BoolVal(False, self.context)

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
            symbol = match[0].strip()
            self.symbols.append(_SAME.get(symbol, symbol))
            at = match.end()
        self.symbols.reverse()
        tree = self._formula(0)
        if self.symbols or not isinstance(tree, tuple | str):
            raise _Unreadable(f"{text[:40]!r} goes on after its end")
        return self._build(tree, truth=True)

    def _formula(self, pull: int) -> Any:
        left = self._first()
        while self.symbols and _PULL.get(self.symbols[-1], 0) > pull:
            sign = self.symbols.pop()
            # "p -> q -> r" is "p -> (q -> r)"; all others bind to the left.
            left = (sign, left, self._formula(_PULL[sign] - (sign == "->")))
        return left

    def _first(self) -> Any:
        symbol = self.symbols.pop() if self.symbols else ""
        if symbol == "(":
            inner = self._formula(0)
            if not self.symbols or self.symbols.pop() != ")":
                raise _Unreadable("a parenthesis is not closed")
            return inner
        if symbol in ("not", "-"):
            return (symbol, self._formula(_NOT if symbol == "not" else _MINUS))
        if symbol in _PULL or not re.fullmatch(r"\w+", symbol):
            raise _Unreadable(f"a formula cannot begin with {symbol!r}")
        return symbol

    def _build(self, tree: Any, *, truth: bool) -> Any:
        z3, c = self.z3, self.context
        if isinstance(tree, str):
            if tree.isdigit() and not truth:
                return z3.IntVal(int(tree), c)
            if tree.isdigit():
                raise _Unreadable(f"{tree} is no statement")
            return z3.Bool(tree, c) if truth else z3.Int(tree, c)
        sign, *parts = tree
        of_truths = sign in ("not", "and", "or", "->", "<->")
        if truth != (of_truths or _PULL[sign] == 6):
            raise _Unreadable(f"{sign!r} cannot stand there")
        terms = [self._build(part, truth=of_truths) for part in parts]
        if sign == "*" and not any(z3.is_int_value(term) for term in terms):
            raise _Unreadable("a product must have a whole number in it")
        if len(terms) == 1:
            return z3.Not(terms[0]) if of_truths else -terms[0]
        words = {"and": z3.And, "or": z3.Or, "->": z3.Implies, "<->": operator.eq}
        return (words | _COMPARE)[sign](*terms)


def _atoms(formulas: list[Any]) -> set[str]:
    """Return the distinct statements that formulas are made of: variables and comparisons."""
    atoms, queue = set(), list(formulas)
    while queue:
        formula = queue.pop()
        parts = formula.children()
        if parts and all(part.sort().name() == "Bool" for part in parts):
            queue += parts
        else:
            atoms.add(formula.sexpr())
    return atoms
