"""Problems of worked sums: a start number and a chain of operations, worked from left to right.

    start 7 , + 5 , * 3 , - 4                        plain style
    begin 7 , add 5 , times 3 , take 4               worded style
    … . i think it is 32                             the user's own guess, right or wrong

Values stay in 0..49 (0..79 for large problems), operands in 1..9 (2..9 for times), which makes
about a thousand facts. In the default order a `-` is never directly followed by a `*`. One chain in
eight, by a hash of the chain alone, belongs to the evaluation split and is never seen by the trunk.

Prompts are drawn from `SPLITS`:

    train, eval      2 to 5 operations; their chains never meet
    longer_6         6, 7, 8, 10 operations, in order of distance from 2 to 5. The trunk has read
    longer_7         documents of 6 and 8 (seldom) but none of 7 or 10: it is a shift for whatever
    longer_8         is fitted on `train`, and for 7 and 10 for the trunk as well
    longer_10
    larger           2 to 5 operations with values up to 79 (the trunk has read chains of 1 and 2)
    unseen_order     a "-" directly followed by a "*", which no other prompt and no document has
    new_style        "begin 7 , add 5", 2 to 5 operations (the trunk has read chains of 1 and 2)

All but `train` draw from chains that the trunk has never seen.

>>> problem = Problem.read("start 7 , + 5 , * 3 , - 4 . i think it is 32")
>>> problem.truth, problem.guess
(32, 32)
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, replace

from trueline.errors import DataError, InputError
from trueline.records import Prompt
from trueline.rng import Rng
from trueline.worlds.sums.language import OPERATIONS, Step, apply

__all__ = [
    "GUESS_FRAC",
    "LARGE",
    "LIMIT",
    "SPLITS",
    "Problem",
    "Split",
    "draw_from",
    "draw_guess",
    "draw_offset",
    "draw_problem",
    "draw_prompts",
    "fits",
]

LIMIT, LARGE = 49, 79
GUESS_FRAC = 0.2
"""Share of prompts with the user's own guess."""
_OFFSETS = (1, 1, 1, 1, 1, 2, 2, 3, 10, 10)
_WORDED = {"+": "add", "-": "take", "*": "times"}
_PLAIN = {word: op for op, word in _WORDED.items()}
_FORMAT = re.compile(
    r"(start|begin) (\d{1,2})((?: , (?:[-+*]|add|take|times) \d)+)"
    r"(?: \. i think it is (\d{1,2}))?"
)


@dataclass(frozen=True)
class Problem:
    """One chain and what stands around it."""

    start: int
    operations: tuple[tuple[str, int], ...]
    guess: int | None = None
    worded: bool = False

    @classmethod
    def read(cls, text: str) -> Problem:
        """Return the problem that a prompt asks; DataError for any other text."""
        match = _FORMAT.fullmatch(text)
        if match is None:
            raise DataError(
                "a prompt of this world must read like 'start 7 , + 5 , * 3'",
                got=repr(text[:60]),
                do="take prompts from Sums.prompts",
            )
        opening, start, chain, guess = match.groups()
        pairs = re.findall(r", (\S+) (\d)", chain)
        return cls(
            start=int(start),
            operations=tuple((_PLAIN.get(op, op), int(b)) for op, b in pairs),
            guess=None if guess is None else int(guess),
            worded=opening == "begin",
        )

    @property
    def text(self) -> str:
        words = [("begin" if self.worded else "start"), str(self.start)]
        for op, b in self.operations:
            words += [",", _WORDED[op] if self.worded else op, str(b)]
        if self.guess is not None:
            words.append(f". i think it is {self.guess}")
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
    def peak(self) -> int:
        """The largest value on the way."""
        return max(self.start, *(step.c for step in self.steps))

    @property
    def held_out(self) -> bool:
        """Whether the chain belongs to the evaluation split; chains of one step never do."""
        chain = replace(self, guess=None, worded=False).text
        digest = hashlib.blake2b(chain.encode(), digest_size=4).digest()
        return len(self.operations) > 1 and int.from_bytes(digest, "big") % 8 == 0

    @property
    def unseen_order(self) -> bool:
        operators = [op for op, _ in self.operations]
        return ("-", "*") in itertools.pairwise(operators)


@dataclass(frozen=True, kw_only=True)
class Split:
    """What the chains of a split are like."""

    lengths: tuple[int, ...] = (2, 3, 4, 5)
    held_out: bool = True
    limit: int = LIMIT
    worded: bool = False
    unseen_order: bool = False

    def holds(self, problem: Problem) -> bool:
        large_enough = self.limit == LIMIT or problem.peak > LIMIT
        order = problem.unseen_order == self.unseen_order
        return problem.held_out == self.held_out and large_enough and order


SPLITS = {
    "train": Split(held_out=False),
    "eval": Split(),
    **{f"longer_{length}": Split(lengths=(length,)) for length in (6, 7, 8, 10)},
    "larger": Split(limit=LARGE),
    "unseen_order": Split(unseen_order=True),
    "new_style": Split(worded=True),
}


def draw_prompts(n: int, rng: Rng, split: str = "train") -> list[Prompt]:
    """Draw `n` different prompts of a split; about one in five with the user's own guess."""
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}", got=repr(split))
    prompts: dict[str, Prompt] = {}
    while len(prompts) < n:
        problem = draw_from(SPLITS[split], rng)
        prompt = Prompt.of(problem.text, split=split, num_steps=len(problem.operations))
        prompts.setdefault(prompt.key, prompt)
    return list(prompts.values())


def draw_from(split: Split, rng: Rng) -> Problem:
    """Draw one problem of a split."""
    num_steps = split.lengths[int(rng.integers(len(split.lengths)))]
    while True:
        problem = draw_problem(rng, num_steps, limit=split.limit, any_order=split.unseen_order)
        if split.holds(problem):
            break
    guess = draw_guess(problem.truth, rng) if rng.random() < GUESS_FRAC else None
    return replace(problem, guess=guess, worded=split.worded)


def draw_problem(
    rng: Rng, num_steps: int, *, limit: int = LIMIT, any_order: bool = False
) -> Problem:
    """Draw a chain inside 0..limit; `any_order` allows the order that is kept for a shift."""
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


def fits(value: int, operations: tuple[tuple[str, int], ...], limit: int) -> bool:
    """Return whether the chain stays inside 0..limit when it goes on from `value`."""
    for op, b in operations:
        if not 0 <= value <= limit:
            return False
        value = apply(value, op, b)
    return 0 <= value <= limit


def draw_offset(rng: Rng) -> int:
    """Draw by how much a number is wrong: near by, or off by ten as a slip of a digit is."""
    return _OFFSETS[int(rng.integers(len(_OFFSETS)))]


def draw_guess(truth: int, rng: Rng) -> int:
    """Draw the user's own guess: right half of the time, else near by."""
    if rng.random() < 0.5:
        return truth
    off = draw_offset(rng)
    return truth + off if rng.random() < 0.5 or truth < off else truth - off
