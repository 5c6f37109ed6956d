"""Read the prompts that a policy is to answer.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "stories.txt"
>>> _ = path.write_text("Once upon a time there was a fox.")
>>> [prompt.text for prompt in load_prompts(path, max_words=4)]
['Once upon a time']
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from trueline.data.dialogues import messages_of, prompt_of
from trueline.data.files import FileRecord, at_row, read_lines, read_records
from trueline.data.formats import PROMPT_FIELDS, filled, prompt_in, split, text_in
from trueline.errors import DataError, InputError
from trueline.records import Message, Prompt

__all__ = ["load_prompts"]


def load_prompts(path: str | os.PathLike[str], *, max_words: int | None = None) -> list[Prompt]:
    """Return the distinct prompts of a file, in order of first appearance.

    A row is {"prompt"}, {"question"}, {"instruction"[, "input"]}, {"messages"}, {"text"} or a
    preference (its shared prompt); in a .txt file each line is one. {"text"} and lines of .txt are
    to be continued: `max_words` keeps no more than their first so many words.
    """
    if max_words is not None and max_words < 1:
        raise InputError("max_words must be at least 1", got=str(max_words))
    if Path(path).name.lower().endswith((".txt", ".txt.gz")):
        prompts = [_to_continue(line, max_words) for line in read_lines(path)]
    else:
        prompts = [_prompt(record, max_words) for record in read_records(path)]
    return list({prompt.key: prompt for prompt in prompts}.values())


def _prompt(record: FileRecord, max_words: int | None) -> Prompt:
    fields = record.fields
    with at_row(record.where):
        if not fields.keys().isdisjoint(PROMPT_FIELDS):
            return prompt_in(fields)
        if "messages" in fields:
            turns = messages_of(filled(fields, "messages"), "messages")
            return prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, "messages")
        if "text" in fields:
            return _to_continue(text_in(fields, "text"), max_words)
        if {"chosen", "rejected"} <= fields.keys():
            return split(fields, filled(fields, "chosen"), filled(fields, "rejected"))[0]
        must = "a row must hold a prompt: prompt, question, instruction, messages or text"
        raise DataError(must, got=f"fields {', '.join(fields) or 'none'}", do="rename its fields")


def _to_continue(text: str, max_words: int | None) -> Prompt:
    if max_words is not None:
        words = list(re.finditer(r"\S+", text))[:max_words]
        text = text[: words[-1].end()]
    return Prompt(messages=(Message("user", text.strip()),), meta={"continuation": True})
