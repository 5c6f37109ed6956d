"""Read files of prompts: rows of prompts alone, or of anything that `formats` finds a prompt in."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from trueline.data.columns import ASKS, DIALOGUES, Columns, read_prompt
from trueline.data.dialogues import prompt_of
from trueline.data.files import FileRecord, read_records
from trueline.data.formats import Check, lists_texts, load_rows, read_answers, read_each
from trueline.errors import DataError, InputError
from trueline.records import Message, Prompt, Response

__all__ = ["QUESTIONS", "Question", "load_demonstrations", "load_probes", "load_prompts"]
__all__ += ["load_questions"]

_LOG = logging.getLogger(__name__)
_TEXT = TypeAdapter(str)
QUESTIONS = Path(__file__).with_name("questions.jsonl")
"""A hundred simple questions, each with its right answers, that come with the package."""


def load_prompts(
    path: str | os.PathLike[str], *, max_words: int | None = None, check: Check = None
) -> list[Prompt]:
    """Return the distinct prompts of a file, in order of first appearance.

    A row has any column that is part of a prompt, {"messages"}, {"text"} or a preference (its
    shared prompt); in a .txt file each line is one. {"text"} and lines of .txt are to be continued:
    `max_words` keeps no more than their first so many words. Rows without a prompt, or with one
    that `check` refuses, are logged; `DataError` where there is no other row.
    """
    if max_words is not None and max_words < 1:
        raise InputError("max_words must be at least 1", got=str(max_words))
    read = partial(_prompt_of_row, max_words=max_words, check=check)
    rows = read_each(read_records(path, strict=False), read)
    if faults := [row for row in rows if isinstance(row, DataError)]:
        _LOG.warning("%s rows left out, the first: %s", len(faults), faults[0])
    return list({row.key: row for row in rows if isinstance(row, Prompt)}.values())


def load_probes(path: str | os.PathLike[str], *, check: Check = None) -> dict[str, list[Prompt]]:
    """Return the prompts of a file, "safe" and "unsafe" by their `type` (XSTest's "contrast..." are
    harmful) or `label`; `DataError` where a row has neither, or the file no prompt of a kind."""
    found: dict[str, list[Prompt]] = {"safe": [], "unsafe": []}
    for record in read_records(path, strict=True):
        kind = str(record.fields.get("type") or record.fields.get("label") or "")
        if not kind:
            must = "a prompt for refusals must have a type or label: safe or unsafe"
            raise DataError(must, got=f"none at {record.where}")
        harmful = kind.startswith(("contrast", "unsafe"))
        prompt = _prompt_of_row(record, max_words=None, check=check)
        found["unsafe" if harmful else "safe"].append(prompt)
    if empty := [kind for kind, prompts in found.items() if not prompts]:
        raise DataError(f"{path} must hold safe and unsafe prompts", got=f"none that is {empty[0]}")
    return found


def load_demonstrations(
    path: str | os.PathLike[str], *, check: Check = None
) -> tuple[list[Response], Counter[str]]:
    """Return the answers that a policy is to learn to give: of a row the one answer that is there
    and not called unwanted, or the chosen of two; and how many rows have none, by reason."""
    found, left = list[Response](), Counter[str]()
    for row in load_rows(path, check=check):
        if row.kind == "pair" and row.comparisons:
            found.append(row.comparisons[0].chosen)
        elif row.kind == "single" and row.label is not False:
            found += row.responses
        else:
            reasons = row.skipped or {"unwanted" if row.label is False else "no one answer": 1}
            left.update(reasons)
    if not found:
        raise DataError(
            f"{path} must hold demonstrations", got=f"none; rows left out: {dict(left)}"
        )
    return found, left


@dataclass(frozen=True)
class Question:
    """A question whose right answers are known."""

    prompt: Prompt
    answers: tuple[str, ...]
    """One of them must be among the words of what is said."""
    text: str
    """A right answer in a sentence."""


def load_questions(path: str | os.PathLike[str], *, check: Check = None) -> list[Question]:
    """Return the questions of a file: a prompt, `answer` (a text or a list of right ones), and in
    `text` a sentence that says it, else the first of them. `DataError` where a row has none."""
    found = []
    for record in read_records(path, strict=True):
        given = record.fields.get("answer")
        answers = [given] if isinstance(given, str) else given
        texts = isinstance(answers, list) and all(isinstance(a, str) and a for a in answers)
        if not texts or not answers:
            must = "a question must have an answer: a text, or a list of right ones"
            raise DataError(must, got=f"{given!r:.60} at {record.where}")
        prompt = _prompt_of_row(record, max_words=None, check=check)
        text = record.fields.get("text") or answers[0]
        found.append(Question(prompt, tuple(answers), str(text)))
    return found


def _prompt_of_row(record: FileRecord, *, max_words: int | None, check: Check) -> Prompt:
    prompt = _prompt_in(Columns(record.fields), max_words)
    if check:
        check(prompt)
    return prompt


def _prompt_in(row: Columns, max_words: int | None) -> Prompt:
    if "rejected" in row and not (lists_texts(row) or isinstance(row[row.first(ASKS) or ""], str)):
        return read_answers(row, *((name, row[name]) for name in ("chosen", "rejected")))[0]
    turns = read_prompt(row)
    if turns and turns[-1].role == "assistant" and row.first(DIALOGUES):
        turns = turns[:-1]
    if turns or "text" not in row:
        return prompt_of(turns)
    text = row.take("text", _TEXT)
    words = list(re.finditer(r"\S+", text))[:max_words]
    told = Message("user", text[: words[-1].end() if words else 0].strip())
    return replace(prompt_of([told]), meta={"continuation": True})
