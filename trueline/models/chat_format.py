"""Turn dialogues into tokens: one text, one tokenisation, and where in it the response lies.

With a chat template the text is what the template makes of the whole dialogue (see `template`): the
tokens are those of `apply_chat_template`, up to the end token that it writes after the answer. A
policy continues from what stands before the answer there, less the blanks that would run into its
first token ("[/INST] "): these are the first token's, so that an answer reads as it was said.

    ids = tokenise(render(prompt) + response),  start = first token past the prompt

Without a template a single user turn is its own text, several turns become "\\n\\nHuman:
…\\n\\nAssistant:", and no end token is appended: most such models never saw one there. The
boundary is found from character offsets in the joint text. A token astride it belongs to the
response.

A response that spells a special token's name ("<end>") says those characters, not the token: it is
tokenised as plain text there, and what the vocabulary still maps to a special token is unknown.
Tokens that a policy sampled are kept as they are (`Rollouts`), not tokenised again.

What is too long loses tokens from the prompt's left, so that the response is kept; with a chat
template the turns' own, oldest first, and the system turn's last. A response that is too long by
itself is cut from its right and marked `truncated`.

Fails with tokenizers that give no offsets (slow ones): `SetupError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from trueline.errors import InputError, SetupError
from trueline.models.template import Template, shared
from trueline.records import Message, Prompt, Response

__all__ = ["Codec", "Encoded", "batches"]

_COLUMNS = ("input_ids", "offset_mapping", "special_tokens_mask")
_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}
_LETTER = "Q"
_TAIL = 32
"""Characters before an answer that decide whether its first token takes some of them in."""

Token = tuple[int, tuple[int, int], int]


class _Text(NamedTuple):
    """A dialogue as text, where its prompt and its answer's words end, and whether it has an end
    token."""

    text: str
    cut: int
    last: int
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised dialogue; the response is `ids[start:stop]`, empty if start == stop."""

    ids: list[int]
    start: int
    stop: int
    truncated: bool = False
    """Whether the response itself was too long and lost tokens from its right."""
    end: int = 0
    """How many of the response's last tokens are its end and none of its words."""
    cut_prompt: int = 0
    """How many tokens the prompt lost so that the response is kept."""


class Codec:
    """A tokenizer with the rules above."""

    def __init__(self, tokenizer: Any, *, is_encoder: bool, max_tokens: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            must = "the tokenizer must give character offsets (tokenizer.json)"
            raise SetupError(must, got=type(tokenizer).__name__)
        self.tokenizer = tokenizer
        self.is_encoder = is_encoder
        self.max_tokens = max_tokens
        self.chat = bool(getattr(tokenizer, "chat_template", None)) and not is_encoder
        self.template = Template(tokenizer)
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self.first_id = next((i for i in ids if i is not None), 0)
        """What stands before a response whose prompt is empty."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        named = {i: t.content for i, t in added.items() if t.content.strip()}
        special = {i for i in named if added[i].special}
        self._special_ids = frozenset(special) - {tokenizer.unk_token_id}
        self._special_names = _any_of(named[i] for i in special)
        self._added_names = _any_of(named.values())
        self._glue = lru_cache(1_000)(self._find_glue)

    @cached_property
    def ending(self) -> list[int]:
        """Return the tokens that the chat template ends an answer with, up to the first that is
        none of plain text; no tokens without a template."""
        row = self.encode([Response(prompt=Prompt.of("a"), text=_LETTER)])[0]
        return row.ids[row.stop - row.end : row.stop]

    @property
    def end_id(self) -> int | None:
        """Return the token that ends an answer: the template's, or else the tokenizer's."""
        ends = self.ending if self.chat else [self.tokenizer.eos_token_id]
        return ends[-1] if ends else None

    @property
    def appends_end(self) -> bool:
        """Return whether a reading ends with the end token."""
        return bool(self.ending)

    def check(self, given: Prompt | Response) -> None:
        """Raise `DataError` where the chat template refuses a prompt's turns, or the answer."""
        asked = given if isinstance(given, Response) else Response(prompt=given, text=_LETTER)
        self._text(asked.prompt, asked.text)

    def render(self, prompt: Prompt) -> tuple[str, str]:
        """Return what a policy continues from, as text, and the glue that comes next: with a chat
        template the answer's first token takes it in, without one a response may lack it."""
        turns = prompt.messages
        if self.chat:
            before = self.template.frame(prompt).before
            glue = self._glue(before[-_TAIL:])
            return before.removesuffix(glue), glue
        if len(turns) == 1 and turns[0].role == "user":
            return turns[0].content, " " if self.is_encoder else ""
        spoken = [f"\n\n{_SPEAKERS.get(m.role, m.role)}: {m.content}" for m in turns]
        return "".join(spoken) + "\n\nAssistant:", " "

    def _text(self, prompt: Prompt, answer: str) -> _Text:
        if self.chat:
            before, shown, after = self.template.parts(prompt, answer)
            end = self._added_names.search(after)
            cut, last = len(before) - len(self._glue(before[-_TAIL:])), len(before) + len(shown)
            text = before + shown + (after[: end.end()] if end else after)
            return _Text(text, cut, last, end is not None)
        before, glue = self.render(prompt)
        before += "" if answer[:1].isspace() else glue
        return _Text(before + answer, len(before), len(before + answer))

    def _find_glue(self, tail: str) -> str:
        """Return the end of `tail` that is in one token with a letter that follows."""
        ((*tokens, _),) = self._tokens([tail + _LETTER])
        return tail[max((end for _, (_, end), _ in tokens if end <= len(tail)), default=0) :]

    def encode(self, responses: Sequence[Response]) -> list[Encoded]:
        """Tokenise prompt and response; return one `Encoded` a response."""
        texts = [self._text(response.prompt, response.text) for response in responses]
        rows = self._tokens([text.text for text in texts])
        for i, response in enumerate(responses):
            if self._special_names.search(response.text):
                rows[i] = self._literal(rows[i], texts[i])
        triples = zip(responses, rows, texts, strict=True)
        return [self._place(response.prompt, row, text) for response, row, text in triples]

    def _literal(self, tokens: list[Token], text: _Text) -> list[Token]:
        """Return the row with its response's tokens read as text without special tokens."""
        cut, begin, lead = text.cut, 0, ""
        if self.chat:
            # A rendered prompt ends in special tokens, which must not run into the answer's
            # characters: these are read with what stands between.
            marks = self._special_names.finditer(text.text[:cut])
            begin = max((mark.end() for mark in marks), default=0)
            lead = "" if begin < cut else "\n"
        (plain,) = self._tokens([lead + text.text[begin : text.last]], plain=True)
        unknown, shift = self.tokenizer.unk_token_id, begin - len(lead)
        spoken: list[Token] = [
            (unknown if i in self._special_ids else i, (a + shift, b + shift), 0)
            for i, (a, b), _ in plain
            if b + shift > cut and not (i in self._special_ids and unknown is None)
        ]
        context = [t for t in tokens if t[1][1] <= cut and t[1] != (0, 0)]
        ending = tokens[len(tokens) - _num_after(tokens, text) :]
        head = next((i for i, t in enumerate(tokens) if t[1] != (0, 0)), len(tokens))
        foot = next((i for i, t in enumerate(tokens[::-1]) if t[1] != (0, 0)), 0)
        return [*tokens[:head], *context, *spoken, *ending, *tokens[len(tokens) - foot :]]

    def prompt_ids(self, prompts: Sequence[Prompt], *, room: int = 0) -> list[list[int]]:
        """Return what a policy continues from, cut from the left to leave `room` for its answer."""
        limit = self.max_tokens - room
        if limit < 1:
            raise InputError(
                f"max_new_tokens must be below the trunk's {self.max_tokens} positions",
                got=str(room),
            )
        out = []
        for prompt, ids in zip(prompts, self._contexts(prompts), strict=True):
            first = int(limit > 1 and ids[0] == self.tokenizer.bos_token_id)
            out.append(self._shortened(prompt, ids, limit, first))
        return out

    def _contexts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens before an answer. What blanks become depends on what follows them: in a
        chat template's text a letter does."""
        if self.chat:
            texts = [self._text(prompt, _LETTER) for prompt in prompts]
        else:
            texts = [_Text(text, len(text), len(text)) for text, _ in map(self.render, prompts)]
        rows = zip(self._tokens([text.text for text in texts]), texts, strict=True)
        parts = (tokens[: _bounds(tokens, text)[0]] for tokens, text in rows)
        return [[i for i, _, _ in part] or [self.first_id] for part in parts]

    def edges(self, prompt: Prompt) -> tuple[int, int]:
        """Return how many tokens of a rendered prompt stand before the first words of a turn that
        is not the system's, and how many between the last turn's words and the answer."""
        turns = [m if m.role == "system" else Message(m.role, _LETTER) for m in prompt.messages]
        ids, other = self._contexts([prompt, Prompt(messages=tuple(turns))])
        return shared(ids, other), shared(ids[::-1], other[::-1])

    def _shortened(self, prompt: Prompt, ids: list[int], limit: int, first: int) -> list[int]:
        """Return a prompt's tokens so that `limit` are left: the `first` stay, and with a chat
        template the system turn and what opens the answer stay longest."""
        if len(ids) <= limit:
            return ids
        head, foot = self.edges(prompt) if self.chat else (0, 0)
        head = max(head, first)
        kept = max(limit - head, foot)
        ids = ids[: min(head, len(ids) - kept)] + ids[len(ids) - kept :]
        return ids[:first] + ids[len(ids) - limit + first :]

    def texts(
        self, prompts: Sequence[Prompt], prefixes: Sequence[list[int]], answers: Sequence[list[int]]
    ) -> list[str]:
        """Return answers as text, without the glue. An answer's leading space counts, so it is read
        off the joint text: with the prompt, or after a chat template with a letter."""
        if self.chat:
            prefixes = [[i for i, _, _ in self._tokens([_LETTER])[0]]] * len(answers)
        before = self._decode(prefixes)
        joint = self._decode([a + b for a, b in zip(prefixes, answers, strict=True)])
        rows = zip(prompts, before, joint, strict=True)
        return [whole[len(left) :].removeprefix(self.render(p)[1]) for p, left, whole in rows]

    def _decode(self, rows: Sequence[list[int]]) -> list[str]:
        how = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        decoded = self.tokenizer.batch_decode(list(rows), **how) if rows else []
        return [str(text) for text in decoded]

    def _tokens(self, texts: list[str], *, plain: bool = False) -> list[list[Token]]:
        if not texts:
            return []
        table = self.tokenizer(
            texts,
            add_special_tokens=not self.chat,
            split_special_tokens=plain,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            padding=False,
            truncation=False,
            verbose=False,
        )
        columns = (table[name] for name in _COLUMNS)
        return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]

    def _place(self, prompt: Prompt, tokens: list[Token], text: _Text) -> Encoded:
        """Find the response, and make it fit with what belongs around it."""
        start, stop = _bounds(tokens, text)
        num_after = _num_after(tokens[start:stop], text)
        end = num_after if text.ends else 0
        ids = [token[0] for token in tokens]
        tail = ids[stop:] if self.is_encoder else []
        first = int(self.is_encoder or ids[:1] == [self.tokenizer.bos_token_id])
        context, answer = ids[:start], ids[start : stop - num_after + end]
        if not context:
            context, first = [self.first_id], 1
        asked = len(context)
        room = self.max_tokens - len(tail) - max(first, 1)
        truncated = len(answer) > room
        if truncated:
            answer = answer[: room - end] + answer[len(answer) - end :]
        limit = self.max_tokens - len(tail) - len(answer)
        context = self._shortened(prompt, context, limit, first)
        start, stop = len(context), len(context) + len(answer)
        return Encoded(context + answer + tail, start, stop, truncated, end, asked - start)


def _bounds(tokens: list[Token], text: _Text) -> tuple[int, int]:
    """Return where the tokens of the answer start, and where those of the text stop."""
    stop = len(tokens)
    while stop and tokens[stop - 1][2] and tokens[stop - 1][1] == (0, 0):
        stop -= 1
    # The search runs backwards: the response is the shorter part, and offsets only grow.
    start = stop
    while start and tokens[start - 1][1][1] > text.cut:
        start -= 1
    return start, stop


def _num_after(tokens: list[Token], text: _Text) -> int:
    """Return how many tokens stand for what the template writes after the answer's words."""
    # The end token may take in blanks to its left; a token before it may hold words as well.
    num = int(text.ends)
    while num < len(tokens) and tokens[-num - 1][1][0] >= text.last < tokens[-num - 1][1][1]:
        num += 1
    return num


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds the first of the names, the longest there; nothing where there are none."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def batches(lengths: Sequence[int], *, max_tokens: int) -> list[np.ndarray]:
    """Group row numbers by length, longest first, at most `max_tokens` with padding a batch."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    groups = []
    while len(order):
        size = max(1, max_tokens // max(1, lengths[order[0]]))
        groups.append(order[:size])
        order = order[size:]
    return groups
