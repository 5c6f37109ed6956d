"""Reward for proofs: every step follows from one or two named earlier ones.

The prompt's meta holds `premises`, named P1, P2, ... in order, and a `conclusion`. An answer proves
it by lines with a name, a formula, and in brackets the names of what it rests on; the last one is
the conclusion. Other lines are remarks.

    1. q           [P1, P3]        premises: p -> q, q -> r, p
    2. r           [P2, 1]         conclusion: r

A formula is made of variables, not, and, or, ->, <-> (and ~ ! & | => for some) and parentheses.
z3 (de Moura & Bjørner 2008) checks each step from the formulas it names alone; so that it does not
do the proving, they are at most two, with at most `max_atoms` variables. A prompt with no
conclusion, or with premises that cannot be read or contradict one another, leaves the row unscored.

>>> from trueline.records import Prompt
>>> ask = Prompt.of("?", premises=["p -> q", "p"], conclusion="q")
>>> Proof().score([ask, ask], ["1. q [P1, P2]", "1. q"]).mean
array([1., 0.])
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, from_meta, needs

__all__ = ["Proof"]

_STEP = re.compile(r"^[ \t]*(\w++)[.):][ \t]([^\n\[\]]++)\[([^\n\[\]]*+)\][ \t]*+\.?[ \t]*+$", re.M)
_SYMBOL = re.compile(r"\s*([A-Za-z]\w*|<->|<=>|->|=>|[()~!&|¬∧∨→↔])", re.ASCII)
# Python's operators that bind as these do: "and" more than "or", and both less than "|".
_PYTHON = {
    "not": "~", "~": "~", "!": "~", "¬": "~", "and": "&", "&": "&", "∧": "&", "or": "|", "|": "|",
    "∨": "|", "->": "and", "=>": "and", "→": "and", "<->": "or", "<=>": "or", "↔": "or",
    "(": "(", ")": ")",
}  # fmt: skip
_MOST_SYMBOLS, _EFFORT = 100, 1_000_000
"""Symbols of a formula; z3's work for a step, alike on all machines."""


class _Formula(NamedTuple):
    z3: Any
    atoms: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Proof(Rule, kind="proof"):
    """1 if the response proves the prompt's conclusion from its premises in small steps."""

    max_atoms: int = 4
    """Distinct variables in a step and what it names."""

    def __post_init__(self) -> None:
        needs("z3")

    def grade_one(self, response: Response) -> Grade:
        goal = from_meta(response.prompt, "conclusion")
        given = from_meta(response.prompt, "premises") or ()
        premises = [given] if isinstance(given, str) else given
        if goal is None:
            return "the prompt's meta holds no 'conclusion'"
        logic = _Logic()
        try:
            known = {f"P{i}": logic.read(str(one)) for i, one in enumerate(premises, start=1)}
            wanted = logic.read(str(goal))
        except ValueError as error:
            return f"the prompt's formulas cannot be read: {error}"
        if logic.check([one.z3 for one in known.values()], effort=20 * _EFFORT) != "sat":
            return "the premises contradict one another, or cannot be decided"
        last = None
        for name, formula, cited in _STEP.findall(response.text):
            names = [one.strip() for one in cited.split(",")]
            if name in known or len(names) > 2 or not all(one in known for one in names):
                return 0.0
            try:
                last = logic.read(formula)
            except ValueError:
                return 0.0
            rests_on, atoms = zip(*(known[one] for one in names), strict=True)
            if len(last.atoms.union(*atoms)) > self.max_atoms:
                return 0.0
            if logic.check([*rests_on, logic.z3.Not(last.z3)], effort=_EFFORT) != "unsat":
                return 0.0
            known[name] = last
        return float(last is not None and last.z3.eq(wanted.z3))


class _Logic:
    """One z3 context, and formulas in it."""

    def __init__(self) -> None:
        self.z3 = needs("z3")
        self.context = self.z3.Context()

    def check(self, formulas: Sequence[Any], *, effort: int) -> str:
        """Return whether all can be true: sat, unsat, or unknown with this effort."""
        solver = self.z3.Solver(ctx=self.context)
        solver.set("rlimit", effort)
        solver.add(*formulas)
        return str(solver.check())

    def read(self, text: str) -> _Formula:
        """Return the formula of a text: Python parses it in other signs, and nothing runs it."""
        text = " ".join(text.split())
        symbols = _SYMBOL.findall(text)
        if len(symbols) > _MOST_SYMBOLS or _SYMBOL.sub("", text):
            raise ValueError(f"{text[:40]!r} is too long, or has an unknown sign")
        source = " ".join(_PYTHON.get(symbol, f"_{symbol}") for symbol in symbols)
        try:
            z3 = self._of(ast.parse(source, mode="eval").body)
        except SyntaxError:
            raise ValueError(f"{text[:40]!r} is no formula") from None
        return _Formula(z3, frozenset(symbols) - _PYTHON.keys())

    def _of(self, tree: ast.expr) -> Any:
        z3 = self.z3
        match tree:
            case ast.Name():
                return z3.Bool(tree.id[1:], self.context)
            case ast.UnaryOp():
                return z3.Not(self._of(tree.operand))
            case ast.BinOp():
                sign = z3.And if isinstance(tree.op, ast.BitAnd) else z3.Or
                return sign(self._of(tree.left), self._of(tree.right))
            case ast.BoolOp(op=ast.And()):
                # "p -> q -> r" is "p -> (q -> r)"; all others bind to the left.
                parts = [self._of(one) for one in reversed(tree.values)]
                return reduce(lambda right, left: z3.Implies(left, right), parts)
            case ast.BoolOp():
                return reduce(lambda left, right: left == right, map(self._of, tree.values))
        raise SyntaxError
