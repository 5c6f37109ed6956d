"""Read what another framework calls prompt and completion; check what several plugs ask for.

The rules are those of preference files (`data.formats`), so that a reward sees in training what it
was fitted on: text dialogues become turns, and a completion of several messages is one text, later
turns marked by who speaks. A tool call is written out as JSON; parts of a message that are not text
are refused, since no reward here could see them.

>>> ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]
>>> prompt, text = dialogue(ask, [{"role": "assistant", "content": "4"}], {"answer": "4"})
>>> [turn.role for turn in prompt.messages], text, prompt.meta["answer"]
(['system', 'user'], '4', '4')
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from trueline.atomic import atomic_folder
from trueline.data.dialogues import is_dialogue
from trueline.data.formats import split
from trueline.errors import DataError, InputError, SetupError
from trueline.records import Prompt

__all__ = ["Turns", "check_use", "dialogue", "new_folder"]

Turns = str | Sequence[Mapping[str, Any]]
"""A text, or messages with role and content."""


def dialogue(prompt: Turns, completion: Turns, meta: Mapping[str, Any]) -> tuple[Prompt, str]:
    """Return the prompt, with what is known besides, and the answer to it."""
    nothing: Any = "" if isinstance(completion, str) else [{"role": "assistant", "content": ""}]
    fields = {"prompt": _plain(prompt), "chosen": _plain(completion), "rejected": nothing}
    asked, text, _ = split(fields)
    if isinstance(prompt, str) and is_dialogue(prompt):
        text = text.strip()
    return replace(asked, meta=dict(meta)), text


def check_use(use: str) -> None:
    """Refuse a column that may not be optimised against."""
    if use not in ("lower", "mean"):
        raise InputError('use must be "lower" or "mean"', got=repr(use))


def new_folder(place: str | Path) -> AbstractContextManager[Path]:
    """Give a folder to fill that appears at `place` at once; refuse to write over anything."""
    place = Path(place)
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise SetupError("an export goes to a new or empty folder", got=f"{place}, which is not")
    return atomic_folder(place)


def _plain(turns: Turns) -> Any:
    if isinstance(turns, str):
        return turns
    return [{"role": turn["role"], "content": _words(turn)} for turn in turns]


def _words(turn: Mapping[str, Any]) -> str:
    parts = turn.get("content") or ""
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    kinds = sorted({str(part.get("type")) for part in parts} - {"text"})
    if kinds:
        raise DataError(
            "every part of a message must be text", got=", ".join(kinds), do="leave it out"
        )
    calls = [json.dumps(call.get("function", call)) for call in turn.get("tool_calls") or ()]
    return "\n".join(filter(None, [*(part["text"] for part in parts), *calls]))
