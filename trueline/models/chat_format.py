"""Turn dialogues into tokens: one text, one tokenisation, and where in it the response lies.

    ids = tokenise(render(prompt) + response) [+ end token],  start = first token past the prompt

With a chat template the prompt is rendered by it and the end token is appended. Without one, a
single user turn is its own text, several turns become "\\n\\nHuman: …\\n\\nAssistant:", and no end
token is appended: most such models never saw one there. The boundary is found from character
offsets in the joint text. A token astride it belongs to the response.

A response that spells a special token's name ("<end>") says those characters, not the token: it is
tokenised as plain text there, and what the vocabulary still maps to a special token is unknown.
Tokens that a policy sampled are kept as they are (`Rollouts`), not tokenised again.

What is too long loses tokens from the prompt's left, so that the response is kept; a response that
is too long by itself is cut from its right and marked `truncated`.

Fails with tokenizers that give no offsets (slow ones): `SetupError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import TemplateError

from trueline.errors import DataError, InputError, SetupError
from trueline.records import Prompt, Response

__all__ = ["Codec", "Encoded", "batches"]

_COLUMNS = ("input_ids", "offset_mapping", "special_tokens_mask")
_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}


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
    """A tokenizer with the rules above. `end_id` is None where the tokenizer has no end token."""

    def __init__(self, tokenizer: Any, *, is_encoder: bool, max_tokens: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            must = "the tokenizer must give character offsets (tokenizer.json)"
            raise SetupError(must, got=type(tokenizer).__name__)
        self.tokenizer = tokenizer
        self.is_encoder = is_encoder
        self.max_tokens = max_tokens
        self.chat = bool(getattr(tokenizer, "chat_template", None)) and not is_encoder
        self.end_id: int | None = tokenizer.eos_token_id
        self.appends_end = self.chat and self.end_id is not None
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self.first_id = next((i for i in ids if i is not None), 0)
        """What stands before a response whose prompt is empty."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        named = {i: t.content for i, t in added.items() if t.special and t.content}
        self._special_ids = frozenset(named) - {tokenizer.unk_token_id}
        # A pattern that never matches where nothing is special.
        self._special_names = re.compile("|".join(map(re.escape, named.values())) or "(?!)")
        self.render = lru_cache(20_000)(self._render)

    def _render(self, prompt: Prompt) -> tuple[str, str]:
        """Return the prompt as text, and the glue to put before a response that lacks it."""
        turns = prompt.messages
        if self.chat:
            messages = [{"role": m.role, "content": m.content} for m in turns]
            try:
                text = self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
            except TemplateError as error:
                must = "the model's chat template must accept the prompt's turns"
                got = f"{[m.role for m in turns]} ({error})"
                raise DataError(must, got=got) from None
            return str(text), ""
        if len(turns) == 1 and turns[0].role == "user":
            return turns[0].content, " " if self.is_encoder else ""
        spoken = [f"\n\n{_SPEAKERS.get(m.role, m.role)}: {m.content}" for m in turns]
        return "".join(spoken) + "\n\nAssistant:", " "

    def encode(self, responses: Sequence[Response]) -> list[Encoded]:
        """Tokenise prompt and response; return one `Encoded` a response."""
        if not responses:
            return []
        texts, cuts = [], []
        for response in responses:
            prefix, glue = self.render(response.prompt)
            prefix += "" if response.text[:1].isspace() else glue
            texts.append(prefix + response.text)
            cuts.append(len(prefix))
        table = self._tokenize(texts)
        rows = [list(row) for row in zip(*(table[name] for name in _COLUMNS), strict=True)]
        for i, response in enumerate(responses):
            if self._special_names.search(response.text):
                rows[i] = self._literal(rows[i], texts[i], cuts[i])
        return [
            self._place(ids, offsets, special, cut)
            for (ids, offsets, special), cut in zip(rows, cuts, strict=True)
        ]

    def _literal(self, row: list[Any], text: str, cut: int) -> list[Any]:
        """Return the row with its response's tokens read as text without special tokens."""
        # A rendered prompt ends in special tokens, which must not run into the answer's characters.
        base, literal = (1, "\n" + text[cut:]) if self.chat else (cut, text)
        plain = self._tokenize([literal], plain=True)
        unknown, shift = self.tokenizer.unk_token_id, cut - base
        spoken = [
            (unknown if i in self._special_ids else i, (a + shift, b + shift), 0)
            for i, (a, b) in zip(plain["input_ids"][0], plain["offset_mapping"][0], strict=True)
            if b > base and not (i in self._special_ids and unknown is None)
        ]
        whole = list(zip(*row, strict=True))
        before = [token for token in whole if token[1][1] <= cut and token[1] != (0, 0)]
        head = next((i for i, token in enumerate(whole) if token[1] != (0, 0)), len(whole))
        foot = next((i for i, token in enumerate(whole[::-1]) if token[1] != (0, 0)), 0)
        joined = [*whole[:head], *before, *spoken, *whole[len(whole) - foot :]]
        return [list(column) for column in zip(*joined, strict=True)]

    def prompt_ids(self, prompts: Sequence[Prompt], *, room: int = 0) -> list[list[int]]:
        """Return what a policy continues from, cut from the left to leave `room` for its answer."""
        limit = self.max_tokens - room
        if limit < 1:
            raise InputError(
                f"max_new_tokens must be below the trunk's {self.max_tokens} positions",
                got=str(room),
            )
        table = self._tokenize([self.render(p)[0] for p in prompts])
        out = []
        for ids, special in zip(table["input_ids"], table["special_tokens_mask"], strict=True):
            stop = len(ids)
            while stop > 1 and special[stop - 1]:
                stop -= 1
            ids = ids[:stop] or [self.first_id]
            head = 1 if len(ids) > limit > 1 and ids[0] == self.tokenizer.bos_token_id else 0
            out.append(ids if len(ids) <= limit else ids[:head] + ids[len(ids) - limit + head :])
        return out

    def texts(
        self, prompts: Sequence[Prompt], prefixes: Sequence[list[int]], answers: Sequence[list[int]]
    ) -> list[str]:
        """Return answers as text. In running text an answer's leading space counts, so it is read
        off the joint text; after a chat template the turn starts afresh."""
        if self.chat:
            return self._decode(answers)
        before = self._decode(prefixes)
        joint = self._decode([a + b for a, b in zip(prefixes, answers, strict=True)])
        rows = zip(prompts, before, joint, strict=True)
        return [whole[len(left) :].removeprefix(self.render(p)[1]) for p, left, whole in rows]

    def _decode(self, rows: Sequence[list[int]]) -> list[str]:
        how = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        decoded = self.tokenizer.batch_decode(list(rows), **how) if rows else []
        return [str(text) for text in decoded]

    def _tokenize(self, texts: list[str], *, plain: bool = False) -> Any:
        return self.tokenizer(
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

    def _place(
        self, ids: list[int], offsets: list[tuple[int, int]], special: list[int], cut: int
    ) -> Encoded:
        """Find the response, add what belongs around it, and make it fit."""
        stop = len(ids)
        while stop and special[stop - 1] and offsets[stop - 1] == (0, 0):
            stop -= 1
        # The search runs backwards: the response is the shorter part, and offsets only grow.
        start = stop
        while start and offsets[start - 1][1] > cut:
            start -= 1
        tail = ids[stop:] if self.is_encoder else []
        head = int(self.is_encoder or ids[:1] == [self.tokenizer.bos_token_id])
        context, answer = ids[:start], ids[start:stop]
        if not context:
            context, head = [self.first_id], 1
        if self.appends_end and self.end_id is not None:
            answer = [*answer, self.end_id]
        room = self.max_tokens - len(tail) - max(head, 1)
        truncated = len(answer) > room
        if truncated:
            keep_end = 1 if self.appends_end else 0
            answer = answer[: room - keep_end] + answer[len(answer) - keep_end :]
        limit = self.max_tokens - len(tail) - len(answer)
        if len(context) > limit:
            context = context[:head] + context[len(context) - limit + head :]
        lost, end = start - len(context), int(self.appends_end and self.end_id is not None)
        start = len(context)
        row = context + answer + tail
        return Encoded(row, start, start + len(answer), truncated, end, max(lost, 0))


def batches(lengths: Sequence[int], *, max_tokens: int) -> list[np.ndarray]:
    """Group row numbers by length, longest first, at most `max_tokens` with padding a batch."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    groups = []
    while len(order):
        size = max(1, max_tokens // max(1, lengths[order[0]]))
        groups.append(order[:size])
        order = order[size:]
    return groups
