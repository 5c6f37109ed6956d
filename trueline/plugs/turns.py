"""Read what another framework calls prompt and completion.

The rules are those of preference files (`data.formats`): text dialogues become turns, and a
completion of several messages is one text, later turns marked by who speaks. A tool call is written
out as JSON; parts of a message that are not text are refused.

>>> ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]
>>> prompt, text = dialogue(ask, [{"role": "assistant", "content": "4"}], {"answer": "4"})
>>> [turn.role for turn in prompt.messages], text, prompt.meta["answer"]
(['system', 'user'], '4', '4')
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trueline.data.dialogues import is_dialogue
from trueline.data.formats import split
from trueline.errors import DataError, InputError
from trueline.records import Prompt

__all__ = ["Turns", "check_use", "dialogue"]

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
