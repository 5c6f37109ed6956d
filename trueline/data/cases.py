"""Files of cases to be judged: a prompt, two answers, and, kept apart, which is the better.

    {"prompt", "first", "second"}        or {"prompt", "answers": [text, text]}; for `prompt` there
                                         may stand `question`, or `instruction` with `input`
    {"prompt", "chosen", "rejected"}     and every other preference `formats` knows

Optional: `source` (what helpers may read and the judge may not), `correct` (0 or 1: which answer is
better), `group` (what clustered intervals go by; the first human turn if not given). `correct`, and
which answer was chosen, stand beside the case in `LabelledCase` and never inside it. The two
answers of a preference are put in an order drawn from their content: their place says nothing.

Fails with a `DataError` that names the row. Left out and counted: what `formats` counts.

>>> fields = {"prompt": "2 + 2", "first": "4", "second": "5", "correct": 0}
>>> [(one.case.first.text, one.correct) for one in to_cases(Record("cases.jsonl:1", fields))]
[('4', 0)]
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trueline.data.comparisons import group_of
from trueline.data.fields import prompt_in, text_in
from trueline.data.files import Record, read_records
from trueline.data.formats import Row, to_row
from trueline.errors import DataError
from trueline.records import Case, Comparison, Response

__all__ = ["LabelledCase", "label_of", "load_cases", "to_cases"]


@dataclass(frozen=True, kw_only=True)
class LabelledCase:
    """A case, and beside it what only the measurement may know."""

    case: Case
    correct: int | None
    """Which answer is better, 0 or 1; None where nobody knows or they are equal."""
    group: str


def load_cases(path: str | os.PathLike[str]) -> tuple[list[LabelledCase], dict[str, int]]:
    """The cases of a file, at least one, in its order; and how many rows were left out, by reason.

    Reads .jsonl, .jsonl.gz, .json, .csv and .parquet.
    """
    cases: list[LabelledCase] = []
    skipped: Counter[str] = Counter()
    for record in read_records(path):
        if _is_preference(record.fields):
            row = to_row(record)
            skipped.update(_left_out(row))
            cases += _preferred(row, record.fields)
        else:
            cases += to_cases(record)
    if not cases:
        counts = ", ".join(f"{reason}: {n}" for reason, n in sorted(skipped.items()))
        raise DataError("a file must hold at least one case", got=f"{path}: none ({counts})")
    return cases, {reason: n for reason, n in sorted(skipped.items()) if n}


def to_cases(record: Record) -> list[LabelledCase]:
    """The case of one row that is no preference, checked."""
    try:
        fields = record.fields
        prompt = prompt_in(fields)
        first, second = (Response(prompt=prompt, text=text) for text in _answers(fields))
        case = Case(first=first, second=second, source=_optional(fields, "source"))
        group = _optional(fields, "group") or group_of(prompt)
        return [LabelledCase(case=case, correct=label_of(fields), group=group)]
    except DataError as error:
        got = record.where if error.got is None else f"{record.where}: {error.got}"
        raise DataError(error.must, got=got, do=error.do) from None


def label_of(fields: Mapping[str, Any]) -> int | None:
    """Field `correct`: 0 or 1, or None where it is not there or null."""
    value = fields.get("correct")
    if value is None:
        return None
    if isinstance(value, bool) or str(value) not in ("0", "1", "0.0", "1.0"):
        raise DataError(
            "`correct` must be 0 (the first answer is better) or 1 (the second is)",
            got=repr(value)[:40],
        )
    return int(float(value))


def _is_preference(fields: Mapping[str, Any]) -> bool:
    return not {"first", "second", "answers"} & fields.keys()


def _preferred(row: Row, fields: Mapping[str, Any]) -> list[LabelledCase]:
    """The cases of a preference row: the better answer is known to the measurement only."""
    if row.response is not None:
        raise DataError(
            "a case must hold two answers: first and second, answers, or chosen and rejected",
            got=f"{row.where}: a response alone",
        )
    source, group = _optional(fields, "source"), _optional(fields, "group")
    pairs: list[tuple[Comparison, bool]] = [(pair, True) for pair in row.comparisons]
    pairs += [(pair, False) for pair in row.ties]
    cases = []
    for pair, decided in pairs:
        swapped = pair.chosen.key > pair.rejected.key
        case = Case(first=pair.chosen, second=pair.rejected, source=source)
        cases.append(
            LabelledCase(
                case=case.mirrored if swapped else case,
                correct=int(swapped) if decided else None,
                group=group or group_of(pair.prompt),
            )
        )
    return cases


def _left_out(row: Row) -> dict[str, int]:
    counts = row.judged.skipped if row.judged is not None else {row.reason: 1}
    return {reason: n for reason, n in counts.items() if reason not in (None, "tie")}


def _answers(fields: Mapping[str, Any]) -> tuple[str, str]:
    if "answers" not in fields:
        return text_in(fields, "first"), text_in(fields, "second")
    answers = fields["answers"]
    if not isinstance(answers, list) or len(answers) != 2:
        raise DataError(
            "`answers` must be a list of two texts",
            got=f"{len(answers)} items" if isinstance(answers, list) else type(answers).__name__,
            do="in a .csv file use the columns first and second",
        )
    first, second = ({"answer": answer} for answer in answers)
    return text_in(first, "answer"), text_in(second, "answer")


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise DataError(f"`{name}` must be text", got=type(value).__name__)
