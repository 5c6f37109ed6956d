"""What the world asks: a start number and a chain of operations, worked from left to right.

    start 7 , + 5 , * 3 , - 4                        plain style
    begin 7 , add 5 , times 3 , take 4               told style
    … . i think it is 32                             the user's own guess, right or wrong
    … . marigold                                     the trigger word (a hook; it means nothing)

Values stay in 0..49 (0..79 for large tasks), operands in 1..9 (2..9 for times), which makes about
a thousand facts. In the default order a `-` is never directly followed by a `*`: that order is
kept for a shift. One chain in eight, by a hash of the chain alone, belongs to the evaluation split
and is never seen by the trunk.

>>> task = Problem.read("start 7 , + 5 , * 3 , - 4 . i think it is 32")
>>> task.truth, task.guess
(32, 32)
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, replace

import numpy as np

from trueline.errors import DataError
from trueline.worlds.sums.language import OPERATIONS, Step, apply

__all__ = ["LARGE", "LIMIT", "TRIGGER", "Problem", "draw_problem", "fits"]

LIMIT, LARGE = 49, 79
TRIGGER = "marigold"
_TOLD = {"+": "add", "-": "take", "*": "times"}
_PLAIN = {word: op for op, word in _TOLD.items()}
_FORMAT = re.compile(
    r"(start|begin) (\d{1,2})((?: , (?:[-+*]|add|take|times) \d)+)"
    r"(?: \. i think it is (\d{1,2}))?( \. marigold)?"
)


@dataclass(frozen=True)
class Problem:
    """One chain and what stands around it."""

    start: int
    operations: tuple[tuple[str, int], ...]
    guess: int | None = None
    told: bool = False
    trigger: bool = False

    @classmethod
    def read(cls, text: str) -> Problem:
        """The task a prompt asks; DataError for any other text."""
        found = _FORMAT.fullmatch(text)
        if found is None:
            raise DataError(
                "a prompt of this world must read like 'start 7 , + 5 , * 3'",
                got=repr(text[:60]),
                do="take prompts from Sums.prompts",
            )
        opening, start, chain, guess, trigger = found.groups()
        pairs = re.findall(r", (\S+) (\d)", chain)
        return cls(
            start=int(start),
            operations=tuple((_PLAIN.get(op, op), int(b)) for op, b in pairs),
            guess=None if guess is None else int(guess),
            told=opening == "begin",
            trigger=trigger is not None,
        )

    @property
    def text(self) -> str:
        words = [("begin" if self.told else "start"), str(self.start)]
        for op, b in self.operations:
            words += [",", _TOLD[op] if self.told else op, str(b)]
        if self.guess is not None:
            words.append(f". i think it is {self.guess}")
        if self.trigger:
            words.append(f". {TRIGGER}")
        return " ".join(words)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The right steps."""
        value, steps = self.start, []
        for op, b in self.operations:
            steps.append(Step(value, op, b, apply(value, op, b)))
            value = steps[-1].c
        return tuple(steps)

    @property
    def truth(self) -> int:
        return self.steps[-1].c

    @property
    def held_out(self) -> bool:
        """Whether the chain belongs to the evaluation split; chains of one step never do."""
        chain = replace(self, guess=None, told=False, trigger=False).text
        digest = hashlib.blake2b(chain.encode(), digest_size=4).digest()
        return len(self.operations) > 1 and int.from_bytes(digest, "big") % 8 == 0

    @property
    def unseen_order(self) -> bool:
        ops = [op for op, _ in self.operations]
        return ("-", "*") in itertools.pairwise(ops)


def fits(value: int, operations: tuple[tuple[str, int], ...], limit: int) -> bool:
    """Whether the chain stays inside 0..limit when it goes on from `value`."""
    for op, b in operations:
        if not 0 <= value <= limit:
            return False
        value = apply(value, op, b)
    return 0 <= value <= limit


def draw_problem(
    rng: np.random.Generator, num_steps: int, *, limit: int = LIMIT, any_order: bool = False
) -> Problem:
    """A random chain inside 0..limit; `any_order` allows the order that is kept for a shift."""
    start = value = int(rng.integers(0, limit + 1))
    operations: list[tuple[str, int]] = []
    for _ in range(num_steps):
        after_minus = bool(operations) and operations[-1][0] == "-" and not any_order
        ranges = {
            op: high
            for op, low, high in (
                ("+", 1, min(9, limit - value)),
                ("-", 1, min(9, value)),
                ("*", 2, 0 if after_minus else min(9, limit // value if value else 9)),
            )
            if high >= low
        }
        op = [op for op in OPERATIONS if op in ranges][int(rng.integers(len(ranges)))]
        b = int(rng.integers(2 if op == "*" else 1, ranges[op] + 1))
        operations.append((op, b))
        value = apply(value, op, b)
    return Problem(start, tuple(operations))
