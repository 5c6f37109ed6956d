"""Read what another framework calls prompt and completion.

The rules are those of preference files (`data.formats`): text dialogues become turns, and a
completion of several messages is one text, later turns marked by who speaks. Tool calls and
reasoning are written out as chat templates do; parts of a message that are not text are refused.

>>> ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]
>>> prompt, text = dialogue(ask, [{"role": "assistant", "content": "4"}], {"answer": "4"})
>>> [turn.role for turn in prompt.messages], text, prompt.meta["answer"]
(['system', 'user'], '4', '4')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trueline.data.columns import Columns
from trueline.data.dialogues import is_dialogue
from trueline.data.formats import prompt_in, read_answers
from trueline.errors import InputError
from trueline.records import Prompt

__all__ = ["Turns", "check_use", "dialogue"]

Turns = str | Sequence[Mapping[str, Any]]
"""A text, or messages with role and content."""


def dialogue(prompt: Turns, completion: Turns, meta: Mapping[str, Any]) -> tuple[Prompt, str]:
    """Return the prompt, with what is known besides, and the answer to it."""
    if isinstance(completion, str):
        asked, text = prompt_in({"prompt": prompt}), completion
        if isinstance(prompt, str) and is_dialogue(prompt):
            text = text.strip()
    else:
        asked, (text,) = read_answers(Columns({"prompt": prompt}), ("completion", completion))
    return replace(asked, meta=dict(meta)), text


def check_use(use: str) -> None:
    """Refuse a column that may not be optimised against."""
    if use not in ("lower", "mean"):
        raise InputError('use must be "lower" or "mean"', got=repr(use))
