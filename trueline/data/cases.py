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
from trueline.data.files import FileRecord, read_records
from trueline.data.formats import read_all, to_row
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


def load_cases(
    path: str | os.PathLike[str], *, strict: bool = False
) -> tuple[list[LabelledCase], dict[str, int]]:
    """Return the cases of a file, at least one, in its order, and how many rows were left out.

    What is left out is counted by the reasons of `formats`; raises `DataError` that names the row
    where `strict`, or where there is no case.
    """
    records = read_records(path, strict=strict)
    return read_all(records, _cases_in, what="case", strict=strict)


def _cases_in(record: FileRecord, skipped: Counter[str]) -> list[LabelledCase]:
    row, fields = to_row(record), record.fields
    if row.kind == "single":
        must = "a case must hold two answers: first and second, or chosen and rejected"
        raise DataError(must, got="a response alone")
    source, group = (str(fields.get(name) or "") or None for name in ("source", "group"))
    # A tie, or what nobody judged, is a case whose better answer nobody knows.
    left = Counter(row.skipped)
    left["unanswered"] -= len(row.ties) - left.pop("tie", 0)
    skipped.update(+left)
    cases = []
    for pair in (*row.comparisons, *row.ties):
        both = pair.chosen, pair.rejected
        if not all(answer.text.strip() for answer in both):
            skipped["empty_answer"] += 1
            continue
        # The places of a pair's answers say which is better; a case's are its own.
        shown = "chosen" not in fields and len(row.responses) == 2
        first, second = row.responses if shown else sorted(both, key=lambda r: r.key)
        case = Case(first=first, second=second, source=source)
        correct = int(pair.chosen is second) if pair in row.comparisons else None
        name = group or group_of(pair.prompt)
        cases.append(LabelledCase(case=case, correct=correct, group=name))
    return cases
