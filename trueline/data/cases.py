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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trueline.data.comparisons import group_of
from trueline.data.files import FileRecord, at_row, read_records
from trueline.data.formats import prompt_in, text_in, text_list, to_row
from trueline.errors import DataError
from trueline.records import Case, Response

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
        if record.fields.keys().isdisjoint({"first", "second", "answers"}):
            cases += _preferred(record, skipped)
        else:
            with at_row(record.where):
                cases.append(_plain(record.fields))
    del skipped["tie"]  # A tie is a case whose better answer nobody knows.
    if not cases:
        counts = ", ".join(f"{reason}: {n}" for reason, n in sorted(skipped.items()))
        raise DataError("a file must hold at least one case", got=f"{path}: none ({counts})")
    return cases, dict(sorted(skipped.items()))


def _plain(fields: Mapping[str, Any]) -> LabelledCase:
    prompt = prompt_in(fields)
    if "answers" in fields:
        texts = text_list(fields, "answers")
        if len(texts) != 2 or not all(text.strip() for text in texts):
            must = "`answers` must be a list of two texts that are not empty"
            raise DataError(must, got=repr(texts)[:40])
    else:
        texts = [text_in(fields, name) for name in ("first", "second")]
    correct = fields.get("correct")
    if isinstance(correct, bool) or str(correct) not in ("0", "1", "0.0", "1.0", "None"):
        must = "`correct` must be 0 (the first answer is better) or 1 (the second is)"
        raise DataError(must, got=repr(correct)[:40])
    first, second = (Response(prompt=prompt, text=text) for text in texts)
    return LabelledCase(
        case=Case(first=first, second=second, source=_optional(fields, "source")),
        correct=None if correct is None else int(float(correct)),
        group=_optional(fields, "group") or group_of(prompt),
    )


def _preferred(record: FileRecord, skipped: Counter[str]) -> list[LabelledCase]:
    row = to_row(record)
    skipped.update(row.skipped)
    with at_row(record.where):
        source, group = (_optional(record.fields, name) for name in ("source", "group"))
        if row.kind == "single":
            must = "a case must hold two answers: first and second, answers, or chosen and rejected"
            raise DataError(must, got="a response alone")
    cases = []
    for pair in (*row.comparisons, *row.ties):
        swapped = pair.chosen.key > pair.rejected.key
        case = Case(first=pair.chosen, second=pair.rejected, source=source)
        case, known = case.mirrored if swapped else case, pair in row.comparisons
        correct, name = int(swapped) if known else None, group or group_of(pair.prompt)
        cases.append(LabelledCase(case=case, correct=correct, group=name))
    return cases


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) in (None, "") else text_in(fields, name)
