"""Read files of cases to be judged: a prompt, two answers, and, kept apart, which is the better.

    {"prompt", "first", "second"}        or {"prompt", "answers": [text, text]}
    {"prompt", "chosen", "rejected"}     and every other preference that `formats` knows

Optional: `source` (what helpers may read and the judge may not), `correct` (0 or 1: which answer is
better), `group` (what clustered intervals go by; the first human turn if not given). `correct`, and
which answer was chosen, stand beside the case in `LabelledCase` and never inside it. The two
answers of a preference are put in an order drawn from their content: their place says nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from trueline.data.comparisons import group_of
from trueline.data.files import at_row, read_records, take
from trueline.data.formats import FILLED, to_row
from trueline.errors import DataError
from trueline.records import Case

__all__ = ["LabelledCase", "load_cases"]


@dataclass(frozen=True, kw_only=True)
class LabelledCase:
    """A case, and beside it what only the measurement may know."""

    case: Case
    correct: int | None
    """Which answer is better, 0 or 1; None where nobody knows or they are equal."""
    group: str


def load_cases(path: str | os.PathLike[str]) -> tuple[list[LabelledCase], dict[str, int]]:
    """Return the cases of a file, at least one, in its order, and how many rows were left out.

    Raises `DataError` that names the row; what is left out is counted by the reasons of `formats`.
    """
    cases: list[LabelledCase] = []
    skipped: Counter[str] = Counter()
    for record in read_records(path):
        row, fields = to_row(record), record.fields
        skipped.update(row.skipped)
        with at_row(record.where):
            if row.kind == "single":
                must = "a case must hold two answers: first and second, or chosen and rejected"
                raise DataError(must, got="a response alone")
            source, group = (
                take(fields, name, FILLED) if fields.get(name) else None
                for name in ("source", "group")
            )
        shown = fields.keys().isdisjoint({"chosen", "rejected", "response1"})
        for pair in (*row.comparisons, *row.ties):
            both = pair.chosen, pair.rejected
            first, second = row.responses if shown else sorted(both, key=lambda r: r.key)
            case = Case(first=first, second=second, source=source)
            correct = int(pair.chosen is second) if pair in row.comparisons else None
            name = group or group_of(pair.prompt)
            cases.append(LabelledCase(case=case, correct=correct, group=name))
    del skipped["tie"]  # A tie is a case whose better answer nobody knows.
    if not cases:
        counts = ", ".join(f"{reason}: {n}" for reason, n in sorted(skipped.items()))
        raise DataError("a file must hold at least one case", got=f"{path}: none ({counts})")
    return cases, dict(sorted(skipped.items()))
