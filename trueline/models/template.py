"""Ask a model's own chat template what it writes around an answer.

    before + answer + after = template(the prompt's turns, the answer as the assistant's last turn)

Both are learned by rendering a word in the answer's place, and every answer is then rendered
itself: what the template makes of it (trimmed, without its thinking) is the answer that is read.
One whose thinking the template lays out anew begins where the two renderings part.

A system turn that the template refuses or leaves out is put before the next user turn's words, and
that is said once. Fails with `DataError` where the template refuses the turns, leaves one out, or
does not show the answer once and as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import TemplateError

from trueline.errors import DataError, SetupError
from trueline.records import Message, Prompt

__all__ = ["Frame", "Template", "shared", "try_template"]

_TRIAL = """
import json, resource, sys, datetime
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
room = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
room.globals["strftime_now"] = datetime.datetime.now().strftime
template, dialogues = json.loads(sys.stdin.read())
for messages in dialogues:
    for more in (True, False):
        try:
            text = room.from_string(template).render(
                messages=messages, add_generation_prompt=more, bos_token="<s>", eos_token="</s>")
        except (MemoryError, OverflowError):
            sys.exit(3)
        except Exception:
            continue
        if len(text) > 1 << 20:
            sys.exit(3)
"""

_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)
_FOLDED = "the chat template takes no system turn: its words are put before the user's"
_PARTLY = "the chat template leaves out a part of some answers (thinking, say), which is not read"


class Frame(NamedTuple):
    """What stands before and after any answer to a prompt, and its turns as they are rendered."""

    before: str
    after: str
    turns: Sequence[Message]


class Template:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._said: set[str] = set()
        self.frame = lru_cache(20_000)(self._frame)
        self._folds = lru_cache(1_000)(self._must_fold)

    def parts(self, prompt: Prompt, text: str) -> tuple[str, str, str]:
        """Return the rendered dialogue in three: before the answer, the answer, after it."""
        frame = self.frame(prompt)
        whole = self._render(frame.turns, text)
        if not whole.startswith(frame.before) and self._frame(prompt) != frame:
            # A template that writes the date has another one today.
            self.frame.cache_clear()
            frame = self.frame(prompt)
        before, after, turns = frame
        stop = len(whole) - len(after)
        shown = whole[len(before) : max(stop, 0)]
        if before + shown + after == whole:
            if shown.strip() != text.strip():
                self._say(_PARTLY)
            return before, shown, after
        if not text.strip():
            return before, "", after
        at = shared(before, whole)
        other, _ = self._around([*turns[:-1], Message(turns[-1].role, "Qz")])
        first = len(before) - shared(before[::-1], other[::-1])
        if not first <= at <= stop or not whole.endswith(after):
            must = "the chat template must show every answer to a prompt in the same place"
            raise DataError(must, got=f"another place for {text[:40]!r}")
        return whole[:at], whole[at:stop], after

    def _frame(self, prompt: Prompt) -> Frame:
        turns = prompt.messages
        if self._folds(tuple(turn.role for turn in turns)):
            self._say(_FOLDED)
            turns = _folded(turns)
        return Frame(*self._around(turns), turns)

    def _must_fold(self, roles: tuple[str, ...]) -> bool:
        """Return whether a dialogue of these roles is accepted only without its system turns."""
        turns = [Message(role, f"Qz{i}z") for i, role in enumerate(roles)]
        faults = []
        for form in [turns, _folded(turns)] if "system" in roles else [turns]:
            try:
                before, _ = self._around(form)
            except DataError as error:
                faults.append(error)
                continue
            lost = [turn.role for turn in turns if turn.content not in before]
            if not lost:
                return form is not turns
            must = "the chat template must show every turn of the prompt"
            faults.append(DataError(must, got=f"{list(roles)}, of which it leaves out {lost[0]}"))
        raise faults[0]

    def _around(self, turns: Sequence[Message]) -> tuple[str, str]:
        word = "Qzanswer"
        while any(word in turn.content for turn in turns):
            word += "z"
        before, *afters = self._render(turns, word).split(word)
        if len(afters) != 1:
            must = "the chat template must show the assistant's answer once and as it is"
            raise DataError(must, got=f"a template that shows it {len(afters)} times")
        return before, afters[0]

    def _render(self, turns: Sequence[Message], answer: str) -> str:
        dialogue = [{"role": turn.role, "content": turn.content} for turn in turns]
        dialogue.append({"role": "assistant", "content": answer})
        try:
            return str(self._tokenizer.apply_chat_template(dialogue, tokenize=False))
        except (TemplateError, *_FAULTS) as error:
            must = "the model's chat template must accept the prompt's turns"
            raise DataError(must, got=f"{[turn.role for turn in turns]} ({error})") from None

    def _say(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            warnings.warn(words, stacklevel=2)


def try_template(template: str | dict[str, str] | None) -> None:
    """Refuse a chat template that takes 3 s, 512 MB or a megabyte of text for three short
    dialogues; it is rendered in a process of its own, for there is no other way to end it."""
    said = {"user": "Hello.", "assistant": "Yes.", "system": "Be kind."}
    roles = (("user",), ("user", "assistant", "user"), ("system", "user", "assistant"))
    dialogues = [[{"role": role, "content": said[role]} for role in some] for some in roles]
    for one in template.values() if isinstance(template, dict) else filter(None, [template]):
        plain = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", one)
        command = [sys.executable, "-c", _TRIAL]
        asked = json.dumps([plain, dialogues])
        try:
            done = subprocess.run(
                command, input=asked, text=True, capture_output=True, timeout=20
            ).returncode
        except subprocess.TimeoutExpired:
            done = 3
        if done:
            must = "the chat template must render a short dialogue in 3 s, 512 MB and 1 MB of text"
            raise SetupError(must, got=f"one of {len(one)} characters that does not")


def _folded(turns: Sequence[Message]) -> tuple[Message, ...]:
    """Return the turns with each system turn's words before those of the next user turn."""
    out: list[Message] = []
    held: list[str] = []
    for turn in turns:
        if turn.role == "system":
            held.append(turn.content)
        elif turn.role == "user" and held:
            out.append(Message("user", "\n\n".join((*held, turn.content))))
            held = []
        else:
            out.append(turn)
    return (*out, Message("user", "\n\n".join(held))) if held else tuple(out)


def shared(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how long the beginning is that both share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
