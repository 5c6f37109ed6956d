"""Ask a model's own chat template what it writes around an answer.

    before + answer + after = template(the prompt's turns, the answer as the assistant's last turn)

Both are learned by rendering a word in the answer's place, and every answer is then rendered
itself: what the template makes of it (trimmed, without its thinking) is the answer that is read.
One whose thinking the template lays out anew begins where the two renderings part.
A template comes with the model, from strangers: it is rendered in a process that can be ended,
which takes a moment to start and is kept.

A system turn that the template refuses or leaves out is put before the next user turn's words, and
that is said once. Fails with `DataError` where the template refuses the turns, leaves one out, or
does not show the answer once and as it is.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from trueline.errors import DataError, SetupError
from trueline.records import Message, Prompt

__all__ = ["Frame", "Template", "render", "shared"]

_RENDER = """
import json, os, resource, signal, sys
# Each thread of a pool would take some of the memory that is allowed.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
from transformers.utils.chat_template_utils import render_jinja_template
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        (text,), _ = render_jinja_template(**json.loads(line))
        said = [text, None] if len(text) < 1 << 24 else sys.exit()
    except (MemoryError, OverflowError):
        sys.exit()
    except Exception as error:
        said = [None, str(error)[:200] or type(error).__name__]
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(said), flush=True)
"""
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
        return render(self._tokenizer, [*turns, Message("assistant", answer)])

    def _say(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            warnings.warn(words, stacklevel=2)


class _Renderer:
    """A process in which templates are rendered: there is no other way to end what one does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Any = None

    def __call__(self, request: Mapping[str, Any]) -> list[Any]:
        """Return the text and None, or None and the fault; `SetupError` where a limit is passed."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                # -P: no module of the folder one stands in.
                command, pipe = [sys.executable, "-P", "-c", _RENDER], subprocess.PIPE
                self._process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
                )
                atexit.register(self._process.kill)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if line:
                said: list[Any] = json.loads(line)
                return said
            self._process.wait()
        must = "the chat template must render a dialogue in 3 s, 1 GiB and 16 M characters"
        raise SetupError(must, got=f"one of {len(request['chat_template'])} that does not")


_renderer = _Renderer()
os.register_at_fork(after_in_child=_renderer.__init__)  # type: ignore[misc]


def render(tokenizer: Any, turns: Sequence[Message], *, ask: bool = False) -> str:
    """Return the turns in the words of the tokenizer's chat template; `DataError` where it refuses
    them, `SetupError` where it takes more than an honest one could."""
    rows = [{"role": turn.role, "content": turn.content} for turn in turns]
    known = {**tokenizer.special_tokens_map, "chat_template": tokenizer.get_chat_template()}
    text, fault = _renderer({"conversations": [rows], "add_generation_prompt": ask, **known})
    if fault is not None:
        must = "the model's chat template must accept the prompt's turns"
        raise DataError(must, got=f"{[turn.role for turn in turns]} ({fault})")
    return str(text)


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
