r"""Say what trainers send, and tell prompts from responses in it.

OpenRLHF 0.11 posts full texts with their prompts; verl 0.9 posts one text, as to vLLM 0.33's
`/classify`; slime posts one prompt and response. `/score` is our own format. Labels are not read;
token ids are refused, since the sender's tokenizer need not be the trunk's.

A text is cut only where the cut can be proved: the turns in it, rendered again by the trunk's own
chat template, must give the text back. How the template marks turns is learned by rendering turns
of known words. Accepted besides: the text's first token (BOS) may be missing, as verl sends it, and
so may all or a part of what closes the last turn. A text in the manner of hh-rlhf
(``\n\nHuman: … \n\nAssistant: …``) is cut at its last answer. Any other prompt is read as in a
preference file; what starts like a chat template's output and is not proved to be the trunk's is
refused: it would be scored, and the scores would mean nothing.

>>> prompt, answer = Splitter(None).whole("\n\nHuman: Hello\n\nAssistant: Hi there.")
>>> prompt.text, answer
('Hello', 'Hi there.')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Annotated, Any

from jinja2 import TemplateError
from pydantic import BaseModel, Field

from trueline.data.dialogues import is_dialogue
from trueline.data.formats import prompt_in
from trueline.errors import DataError, InputError
from trueline.models.chat_format import Codec
from trueline.records import Message, Prompt
from trueline.serving.batcher import Item

__all__ = ["ClassifyRequest", "OpenRLHFRequest", "ScoreRequest", "SlimeRequest", "Splitter"]

_STARTS = ("<|", "<｜", "[INST]", "<s>", "<bos>", "<start_of_turn>")
"""How the rendered texts of known families begin."""
_SYSTEM, _ASK, _ANSWER, _AGAIN = "Qzsys", "Qzask", "Qzanswer", "Qzagain"
"""Words that no template holds."""
_MAX_TURNS = 512
_ASSISTANT = "\n\nAssistant:"


class Splitter:
    """Cuts texts by the codec's chat template; without one only hh-rlhf's manner is known."""

    def __init__(self, codec: Codec | None) -> None:
        self._tokenizer: Any = codec.tokenizer if codec is not None and codec.chat else None
        self._eos: str = getattr(codec and codec.tokenizer, "eos_token", None) or ""
        bos: str = getattr(self._tokenizer, "bos_token", None) or ""
        self._leads = ("", bos, f"{bos} ") if bos else ("",)
        """What a sender may have left out at the start."""
        self._heads: list[tuple[str, str | None]] = []
        """Before the first words, and what parts system words from the user's (None: no system)."""
        self._opens = self._asks = self._back = self._ends = ""
        """After the user's words where the assistant is to speak; between the user's words and the
        assistant's; between the assistant's and the user's; after the assistant's last words."""
        if self._tokenizer is not None:
            self._learn()
        marks = sorted(filter(None, (self._asks, self._back)), key=len, reverse=True)
        self._between = re.compile("|".join(map(re.escape, marks)) or "(?!)")
        own = (head.removeprefix(bos).strip() or bos for head, _ in self._heads)
        self._starts = (*_STARTS, *filter(None, own))

    def whole(self, text: str) -> tuple[Prompt, str]:
        """Return prompt and response of one text that holds both; `DataError` without proof."""
        cut = self._parse(text, answered=True)
        if cut is not None:
            return cut
        before, mark, answer = text.rpartition(_ASSISTANT)
        if text.startswith("\n\nHuman:") and mark:
            return prompt_in({"prompt": before + mark}), answer.strip()
        raise DataError(
            "a text with prompt and response in one must be rendered by the trunk's chat "
            r"template, if it has one, or of the form '\n\nHuman: …\n\nAssistant: …'",
            got=_short(text),
            do="send prompts and responses apart, to /score",
        )

    def after(self, text: str, prompt: str) -> tuple[Prompt, str]:
        """Return prompt and response of a text that should begin with the prompt."""
        for start in (lead + prompt for lead in self._leads):
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
        """Return a prompt by itself: rendered, or as in a preference file."""
        cut = self._parse(text, answered=False)
        if cut is not None:
            return cut[0]
        if text.lstrip().startswith(self._starts) and not is_dialogue(text):
            raise DataError(
                "a prompt that a chat template rendered must be rendered by the trunk's own",
                got=_short(text),
                do="send its turns as a list of messages, or its plain words",
            )
        return prompt_in({"prompt": text})

    def _trim(self, response: str) -> str:
        """Cut off the blank that opens the turn and what closes it."""
        response = response.removeprefix(self._asks.removeprefix(self._opens))
        for tail in (self._ends, self._ends.rstrip(), self._ends.strip(), self._eos):
            if tail and response.endswith(tail):
                return response.removesuffix(tail)
        return response

    def _parse(self, text: str, *, answered: bool) -> tuple[Prompt, str] | None:
        """Return the turns whose rendering is the text, but for some of what closes it, or None."""
        for lead, (head, after_system) in product(self._leads, self._heads):
            whole = lead + text
            if not whole.startswith(head):
                continue
            body, turns = whole[len(head) :], list[Message]()
            if after_system is not None:
                words, _, body = body.partition(after_system)
                turns.append(Message("system", words))
            *parts, last = self._between.split(
                body if answered else body.removesuffix(self._opens), _MAX_TURNS
            )
            parts.append(self._trim(last) if answered else last)
            turns += [Message(("user", "assistant")[i % 2], words) for i, words in enumerate(parts)]
            if answered == (turns[-1].role == "assistant"):
                full, closing = self._render(turns, ask=not answered), self._ends * answered
                if full.startswith(whole) and closing.endswith(full[len(whole) :]):
                    asked = turns[:-1] if answered else turns
                    return Prompt(messages=tuple(asked)), turns[-1].content
        return None

    def _render(self, turns: Sequence[Message], *, ask: bool = False) -> str:
        """Return the turns in the template's words; none where it refuses them."""
        rows = [{"role": turn.role, "content": turn.content} for turn in turns]
        how = {"tokenize": False, "add_generation_prompt": ask}
        try:
            return str(self._tokenizer.apply_chat_template(rows, **how))
        except TemplateError:
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


RequestItem = str | Annotated[list[dict[str, Any]], Field(max_length=512)]
"""A prompt: text, or turns with role and content."""


class ScoreRequest(BaseModel):
    """Prompts and the responses to them."""

    prompts: list[RequestItem]
    responses: list[str]

    def items(self, _: Splitter) -> list[Item]:
        """Return one item a row."""
        return [(prompt_in({"prompt": p}), r) for p, r in _rows(self.prompts, self.responses)]


class OpenRLHFRequest(BaseModel):
    """Full texts and the prompts that they begin with."""

    query: list[str]
    prompts: list[str] | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        if self.prompts is None:
            return [splitter.whole(text) for text in self.query]
        return [splitter.after(text, p) for p, text in _rows(self.prompts, self.query)]


class ClassifyRequest(BaseModel):
    """vLLM's: texts that hold prompt and response, no token ids."""

    input: str | list[str]
    use_activation: bool | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a text."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return [splitter.whole(text) for text in texts]


class SlimeRequest(BaseModel):
    """One sample."""

    prompt: RequestItem
    response: str

    def items(self, splitter: Splitter) -> list[Item]:
        """Return the one item."""
        if isinstance(self.prompt, str):
            return [splitter.after(self.prompt + self.response, self.prompt)]
        return [(prompt_in({"prompt": self.prompt}), self.response)]


def _rows(prompts: Sequence[Any], texts: Sequence[str]) -> Iterable[tuple[Any, str]]:
    if len(prompts) != len(texts):
        got = f"{len(prompts)} for {len(texts)} texts"
        raise InputError("`prompts` must be as long as the texts", got=got)
    return zip(prompts, texts, strict=True)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:56]}…")
