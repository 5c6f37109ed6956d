r"""Say what trainers send, and tell prompts from responses in it.

OpenRLHF 0.11 posts full texts with their prompts; verl 0.9 posts one text, as to vLLM 0.33's
`/classify`; slime posts one prompt and response. `/score` is our own format. Labels are not read;
token ids are refused, since the sender's tokenizer need not be the trunk's.

Pads, doubled beginnings and repeated ends are taken off every text. One that the trunk's own
template rendered is cut where the cut can be proved: its turns, rendered again, must give the text
back. How the template marks turns is learned by rendering turns of known words. A text of another
family's template is read by the roles found in it (`renderings`), and one in the manner of hh-rlhf
(``\n\nHuman: … \n\nAssistant: …``) is cut at its last answer. Any other prompt is read as in a
preference file. What then still holds a template's marks is refused: it would be scored as words.

>>> prompt, answer = Splitter(None).whole("\n\nHuman: Hello\n\nAssistant: Hi there.")
>>> prompt.text, answer
('Hello', 'Hi there.')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field

from trueline.data.formats import prompt_in
from trueline.errors import DataError, InputError
from trueline.models.chat_format import Codec
from trueline.models.template import render
from trueline.records import Message, Prompt
from trueline.serving.batcher import Item
from trueline.serving.renderings import (
    bare,
    is_closed,
    opens_turn,
    turns_in,
    unthinking,
    without_ends,
    without_starts,
)

__all__ = ["ClassifyRequest", "OpenRLHFRequest", "ScoreRequest", "SlimeRequest", "Splitter"]

_SYSTEM, _ASK, _ANSWER, _AGAIN = "Qzsys", "Qzask", "Qzanswer", "Qzagain"
"""Words that no template holds."""
_MAX_TURNS = 512
_ASSISTANT = "\n\nAssistant:"


class Splitter:
    """Cuts texts by the codec's chat template, if it has one, and those of known families."""

    def __init__(self, codec: Codec | None) -> None:
        tokenizer: Any = codec and codec.tokenizer
        self._tokenizer: Any = tokenizer if codec is not None and codec.chat else None
        names = (f"{name}_token" for name in ("bos", "eos", "pad", "cls", "sep"))
        edges: Any = {getattr(tokenizer, name, None) for name in names}
        bos: str = getattr(tokenizer, "bos_token", None) or ""
        self._leads = ("", bos, f"{bos} ") if bos else ("",)
        """What the template writes first and was taken off."""
        self._heads: list[tuple[str, str | None]] = []
        """Before the first words, and what parts system words from the user's (None: no system)."""
        self._opens = self._asks = self._back = self._ends = ""
        """After the user's words where the assistant is to speak; between the user's words and the
        assistant's; between the assistant's and the user's; after the assistant's last words."""
        if self._tokenizer is not None:
            self._learn()
        marks = sorted(filter(None, (self._asks, self._back)), key=len, reverse=True)
        self._between = re.compile("|".join(map(re.escape, marks)) or "(?!)")
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        special = [token.content for token in added if token.special and token.content]
        edges = {*filter(None, edges), *(mark for mark in special if mark in self._ends)}
        # SmolLM2's BOS is what opens its turns.
        opens = {mark for mark in edges if mark in self._opens or opens_turn(mark)}
        self._edges: tuple[str, ...] = tuple(m for m in edges if m in self._ends or m not in opens)
        """What stands before and after a text of this tokenizer, and is no words."""
        written = "".join([self._opens, *marks, *(part or "" for h in self._heads for part in h)])
        self._marks = tuple({*self._edges, *(mark for mark in special if mark in written)})
        """What must not stand inside words."""

    def whole(self, text: str) -> tuple[Prompt, str]:
        """Return prompt and response of one text that holds both; `DataError` without proof."""
        text = self._ended(without_starts(text, self._edges))
        if cut := self._parse(text, answered=True):
            return self._bare(cut[0]), bare(cut[1], self._marks)
        if (turns := turns_in(text)) and turns[-1][0] == "assistant" and turns[:-1]:
            return self._asked(turns[:-1]), bare(unthinking(turns[-1][1]), self._marks)
        before, mark, answer = text.rpartition(_ASSISTANT)
        if ("\n\n" + text.lstrip()).startswith("\n\nHuman:") and mark:
            asked = "\n\n" + before.lstrip() + mark
            return self._bare(prompt_in({"prompt": asked})), bare(answer.strip(), self._marks)
        raise DataError(
            "a text with prompt and response in one must be rendered by a chat template, the "
            r"trunk's or a known family's, or of the form '\n\nHuman: …\n\nAssistant: …'",
            got=_short(text),
            do="send prompts and responses apart, to /score",
        )

    def after(self, text: str, prompt: str) -> tuple[Prompt, str]:
        """Return prompt and response of a text that should begin with the prompt."""
        body, head = (without_starts(part, self._edges) for part in (text, prompt))
        for start in (head, without_ends(head, self._edges)):
            if body.startswith(start):
                return self.prompt(prompt), self.answer(body[len(start) :])
        try:
            asked, answer = self.whole(text)
        except DataError:
            asked = None
        if asked is None or asked.text not in prompt:
            raise DataError(
                "a query must begin with its prompt, or be rendered by the trunk's chat template",
                got=f"{_short(text)} for the prompt {_short(prompt)}",
            )
        return asked, answer

    def prompt(self, given: str | Sequence[dict[str, Any]]) -> Prompt:
        """Return a prompt by itself: messages, a rendered text, or text as in a preference file."""
        if not isinstance(given, str):
            return self._bare(prompt_in({"prompt": [self._message(turn) for turn in given]}))
        text = without_starts(given, self._edges)
        if cut := self._parse(without_ends(text, self._edges), answered=False):
            return self._bare(cut[0])
        turns, words = turns_in(text), without_ends(text, self._edges)
        if turns:
            role, begun = turns[-1]
            # A template may begin the answer's thoughts, or end them at once.
            if role == "assistant" and unthinking(begun) in ("", "<think>"):
                return self._asked(turns[:-1])
            if role != "assistant" and is_closed(text):
                return self._asked(turns)
        return self._bare(prompt_in({"prompt": bare(words, self._marks)}))

    def answer(self, text: str) -> str:
        """Return a response by itself, without the marks that open and end its turn."""
        text = without_starts(text.removeprefix(self._asks.removeprefix(self._opens)), self._edges)
        text, turns = self._ended(text), turns_in(text)
        if turns and [role for role, _ in turns] == ["assistant"]:
            text = turns[0][1]
        return bare(unthinking(text), self._marks)

    def _ended(self, text: str) -> str:
        """Return the text without what closes it."""
        ended = without_ends(text, self._edges)
        if ended == text:
            return text
        marks = self._ends.lstrip()
        return ended.removesuffix(self._ends[: -len(marks)]) if marks else ended.rstrip()

    def _message(self, turn: dict[str, Any]) -> dict[str, Any]:
        words = turn.get("content")
        if not isinstance(words, str):
            return turn
        return {**turn, "content": without_ends(without_starts(words, self._edges), self._edges)}

    def _asked(self, turns: Sequence[tuple[str, str]]) -> Prompt:
        rows = [{"role": role, "content": words} for role, words in turns]
        return self._bare(prompt_in({"prompt": rows}))

    def _bare(self, prompt: Prompt) -> Prompt:
        for turn in prompt.messages:
            bare(turn.content, self._marks)
        return prompt

    def _parse(self, text: str, *, answered: bool) -> tuple[Prompt, str] | None:
        """Return the turns whose rendering is the text, but for what closes it, or None."""
        for lead, (head, after_system) in product(self._leads, self._heads):
            whole = lead + text
            if not whole.startswith(head):
                continue
            body, turns = whole[len(head) :], list[Message]()
            if after_system is not None:
                words, _, body = body.partition(after_system)
                turns.append(Message("system", words))
            body = body if answered else body.removesuffix(self._opens)
            parts = self._between.split(body, _MAX_TURNS)
            turns += [Message(("user", "assistant")[i % 2], words) for i, words in enumerate(parts)]
            if answered == (turns[-1].role == "assistant"):
                full, closing = self._render(turns, ask=not answered), self._ends * answered
                if full.startswith(whole) and closing.endswith(full[len(whole) :]):
                    asked = turns[:-1] if answered else turns
                    return Prompt(messages=tuple(asked)), turns[-1].content
        return None

    def _render(self, turns: Sequence[Message], *, ask: bool = False) -> str:
        """Return the turns in the template's words; none where it refuses them."""
        try:
            return render(self._tokenizer, turns, ask=ask)
        except DataError:
            return ""

    def _learn(self) -> None:
        """Read the template's marks off turns of known words."""
        ask, again = Message("user", _ASK), Message("user", _AGAIN)
        answer, system = Message("assistant", _ANSWER), Message("system", _SYSTEM)
        opened, done = self._render([ask], ask=True), self._render([ask, answer])
        more, led = self._render([ask, answer, again]), self._render([system, ask], ask=True)
        if not more or _ASK not in opened or _ANSWER not in done:
            return
        head, self._opens = opened.split(_ASK, 1)
        self._asks, self._ends = done.split(_ASK, 1)[-1].split(_ANSWER, 1)
        self._back = more.split(_ANSWER, 1)[-1].split(_AGAIN, 1)[0]
        self._heads = [(head, None)]
        before, _, rest = led.partition(_SYSTEM)
        if _ASK in rest:
            self._heads.append((before, rest.split(_ASK, 1)[0]))


Turns = Annotated[list[dict[str, Any]], Field(max_length=512)]
Asked = str | Turns
"""A prompt: text, or turns with role and content."""


class ScoreRequest(BaseModel):
    """Prompts and the responses to them, or one of each."""

    prompts: Asked | list[Asked] = Field(validation_alias=AliasChoices("prompts", "prompt"))
    responses: str | list[str] = Field(validation_alias=AliasChoices("responses", "response"))

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        rows = _rows(self.prompts, self.responses)
        return [(splitter.prompt(asked), splitter.answer(text)) for asked, text in rows]


class OpenRLHFRequest(BaseModel):
    """Full texts and the prompts that they begin with."""

    query: str | list[str]
    prompts: str | list[str] | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        if self.prompts is None:
            return [splitter.whole(text) for text in _listed(self.query)]
        return [splitter.after(text, p) for p, text in _rows(self.prompts, self.query)]


class ClassifyRequest(BaseModel):
    """vLLM's: texts that hold prompt and response, no token ids."""

    input: str | list[str]
    use_activation: bool | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a text."""
        return [splitter.whole(text) for text in _listed(self.input)]


class SlimeRequest(BaseModel):
    """One sample, or several."""

    prompt: Asked | list[Asked]
    response: str | list[str]

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a sample."""
        rows = _rows(self.prompt, self.response)
        return [(splitter.prompt(asked), splitter.answer(text)) for asked, text in rows]


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _rows(prompts: Any, texts: str | list[str]) -> Iterable[tuple[Any, str]]:
    """Return prompt and text of each row; beside one text `prompts` is one prompt, or a list of
    one."""
    if isinstance(texts, str):
        is_one = isinstance(prompts, str) or (prompts and isinstance(prompts[0], dict))
        prompts, texts = [prompts] if is_one else prompts, [texts]
    elif isinstance(prompts, str) or (prompts and isinstance(prompts[0], dict)):
        prompts = [prompts]
    if len(prompts) != len(texts):
        got = f"{len(prompts)} for {len(texts)} texts"
        raise InputError("`prompts` must be as long as the texts", got=got)
    return zip(prompts, texts, strict=True)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:56]}…")
