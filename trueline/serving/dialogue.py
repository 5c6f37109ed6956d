r"""Tell prompt and response apart in the texts that trainers send.

A text is cut only where the cut can be proved: the turns in it, rendered again by the trunk's own
chat template, must give the text back. How the template marks turns is learned by rendering turns
of known words. Accepted besides: the text's first token (BOS) may be missing, as verl sends it, and
so may all or a part of what closes the last turn. A text in the manner of hh-rlhf
(``\n\nHuman: … \n\nAssistant: …``) is cut at its last answer.

A prompt by itself is a rendered dialogue if it can be proved to be one, else one user turn in plain
words. What starts like a chat template's output and is not proved to be the trunk's is refused: it
would be scored, and the scores would mean nothing.

>>> prompt, answer = Splitter(None).whole("\n\nHuman: Hello\n\nAssistant: Hi there.")
>>> prompt.text, answer
('Hello', 'Hi there.')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from trueline.data.dialogues import parse_dialogue
from trueline.errors import DataError
from trueline.models.chat_format import Codec
from trueline.records import Message, Prompt

__all__ = ["Splitter"]

_STARTS = ("<|", "<｜", "[INST]", "<s>", "<bos>", "<start_of_turn>")
"""How the rendered texts of known families begin."""
_SYSTEM, _ASK, _ANSWER, _AGAIN = "Qzsys", "Qzask", "Qzanswer", "Qzagain"
_MAX_TURNS = 512
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True)
class _Marks:
    """What a template writes around the words of turns."""

    heads: tuple[tuple[str, str | None], ...]
    """Before the first words, and what parts system words from the user's (None: no system)."""
    opens: str
    """After the user's words, where the assistant is to speak."""
    asks: str
    """Between the user's words and the assistant's."""
    back: str
    """Between the assistant's words and the user's."""
    ends: str
    """After the assistant's last words."""


class Splitter:
    """Cuts texts by the codec's chat template; without one only hh-rlhf's manner is known."""

    def __init__(self, codec: Codec | None) -> None:
        self._tokenizer: Any = codec.tokenizer if codec is not None and codec.chat else None
        self._end: str = getattr(codec and codec.tokenizer, "eos_token", None) or ""
        self._bos: str = getattr(self._tokenizer, "bos_token", None) or ""
        self._marks = self._learn() if self._tokenizer is not None else None
        heads = self._marks.heads if self._marks else ()
        own = (head.removeprefix(self._bos).strip() or self._bos for head, _ in heads)
        self._starts = (*_STARTS, *filter(None, own))

    def whole(self, text: str) -> tuple[Prompt, str]:
        """Return prompt and response of one text that holds both; `DataError` without proof."""
        cut = self._parse(text, answered=True) or _cut_hh(text)
        if cut is None:
            raise DataError(
                "a text with prompt and response in one must be rendered by the trunk's chat "
                r"template, if it has one, or of the form '\n\nHuman: …\n\nAssistant: …'",
                got=_short(text),
                do="send prompts and responses apart, to /score",
            )
        return cut

    def after(self, text: str, prompt: str) -> tuple[Prompt, str]:
        """Return prompt and response of a text that should begin with the prompt."""
        for start in (prompt, self._bos + prompt, self._bos + " " + prompt):
            if text.startswith(start):
                return self.prompt(prompt), self._trim(text[len(start) :])
        cut = self._parse(text, answered=True)
        if cut is None or cut[0].text not in prompt:
            raise DataError(
                "a query must begin with its prompt, or be rendered by the trunk's chat template",
                got=f"{_short(text)} for the prompt {_short(prompt)}",
            )
        return cut

    def prompt(self, text: str) -> Prompt:
        """Return a prompt by itself: rendered, in hh-rlhf's manner, or plain words."""
        cut = self._parse(text, answered=False)
        if cut is not None:
            return cut[0]
        if text.startswith(_HUMAN) and text.rstrip().endswith(_ASSISTANT):
            return Prompt(messages=parse_dialogue(text.rstrip().removesuffix(_ASSISTANT)))
        if text.lstrip().startswith(self._starts):
            raise DataError(
                "a prompt that a chat template rendered must be rendered by the trunk's own",
                got=_short(text),
                do="send its turns as a list of messages, or its plain words",
            )
        return Prompt.of(text)

    def _trim(self, response: str) -> str:
        """Cut off the blank that opens the turn and what closes it."""
        ends = ""
        if self._marks is not None:
            response = response.removeprefix(self._marks.asks.removeprefix(self._marks.opens))
            ends = self._marks.ends
        for tail in (ends, ends.rstrip(), ends.strip(), self._end):
            if tail and response.endswith(tail):
                return response.removesuffix(tail)
        return response

    def _parse(self, text: str, *, answered: bool) -> tuple[Prompt, str] | None:
        """Return turns that give the text back when they are rendered; None if there are none."""
        marks = self._marks
        if marks is None or not (answered or (marks.opens and text.endswith(marks.opens))):
            return None
        body = text if answered else text.removesuffix(marks.opens)
        for head, after_system in marks.heads:
            bare = head.removeprefix(self._bos)
            for start in dict.fromkeys((head, bare, bare.lstrip())):
                if not start or not body.startswith(start):
                    continue
                turns, last = _turns(body[len(start) :], after_system, marks), ""
                if answered != (turns[-1].role == "assistant"):
                    continue
                if answered:
                    last = self._trim(turns[-1].content)
                    turns = [*turns[:-1], Message("assistant", last)]
                full = self._render(turns, ask=not answered)
                # The rendering is the text, but for the head's beginning and the closing's end.
                missing = len(head) - len(start)
                if full is None or not full.startswith(head) or full[missing:][: len(text)] != text:
                    continue
                if (marks.ends if answered else "").endswith(full[missing + len(text) :]):
                    return Prompt(messages=tuple(turns[:-1] if answered else turns)), last
        return None

    def _render(self, turns: Sequence[Message], *, ask: bool = False) -> str | None:
        rows = [{"role": turn.role, "content": turn.content} for turn in turns]
        how = {"tokenize": False, "add_generation_prompt": ask}
        try:
            return str(self._tokenizer.apply_chat_template(rows, **how))
        except TemplateError:
            return None

    def _learn(self) -> _Marks | None:
        """Return the template's marks, read off turns of known words."""
        ask, again = Message("user", _ASK), Message("user", _AGAIN)
        answer, system = Message("assistant", _ANSWER), Message("system", _SYSTEM)
        opened, done = self._render([ask], ask=True), self._render([ask, answer])
        more = self._render([ask, answer, again])
        if not opened or not done or not more or _ASK not in opened or _ANSWER not in done:
            return None
        head, opens = opened.split(_ASK, 1)
        asks, ends = done.split(_ASK, 1)[-1].split(_ANSWER, 1)
        back = more.split(_ANSWER, 1)[-1].split(_AGAIN, 1)[0]
        heads: list[tuple[str, str | None]] = [(head, None)]
        led = self._render([system, ask], ask=True)
        if led and _SYSTEM in led and _ASK in led.split(_SYSTEM, 1)[1]:
            before, rest = led.split(_SYSTEM, 1)
            heads.append((before, rest.split(_ASK, 1)[0]))
        return _Marks(tuple(heads), opens, asks, back, ends)


def _turns(body: str, after_system: str | None, marks: _Marks) -> list[Message]:
    """Return user and assistant in turn, after a system turn if there is one."""
    turns, role, at = list[Message](), "user", 0
    if after_system is not None:
        words, mark, _ = body.partition(after_system)
        turns, at = [Message("system", words)], len(words) + len(mark)
    while len(turns) < _MAX_TURNS:
        mark = marks.asks if role == "user" else marks.back
        stop = body.find(mark, at)
        turns.append(Message(role, body[at:] if stop < 0 else body[at:stop]))
        if stop < 0:
            break
        at, role = stop + len(mark), "assistant" if role == "user" else "user"
    return turns


def _cut_hh(text: str) -> tuple[Prompt, str] | None:
    before, mark, answer = text.rpartition(_ASSISTANT)
    turns = parse_dialogue(before) if text.startswith(_HUMAN) and mark else ()
    if not turns or turns[-1].role != "user":
        return None
    return Prompt(messages=turns), answer.strip()


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:56]}…")
