"""Questions and answers: `Message`, `Prompt`, `Response`, and the `Comparison` of two answers.

>>> prompt = Prompt.of("start 7 , + 5")
>>> good, bad = Response(prompt=prompt, text="answer 12"), Response(prompt=prompt, text="answer 13")
>>> Comparison(chosen=good, rejected=bad, rater="ann").prompt.text
'start 7 , + 5'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trueline.errors import DataError

__all__ = ["Comparison", "Message", "Prompt", "Response"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialogue."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A dialogue up to the point where the policy must answer."""

    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)
    """What a world or a file knows besides (subset, group, truth); no learned reward reads it, and
    rules find the expected answer here."""

    def __post_init__(self) -> None:
        if not self.messages:
            raise DataError("a prompt must hold at least one message", got="none")

    @classmethod
    def of(cls, text: str, *, system: str | None = None, **meta: Any) -> Prompt:
        """Return a prompt of one user turn, with a system turn before it if given."""
        turns = [Message("system", system)] if system is not None else []
        return cls(messages=(*turns, Message("user", text)), meta=meta)

    @property
    def text(self) -> str:
        """The last turn's words."""
        return self.messages[-1].content

    @cached_property
    def key(self) -> str:
        """Content hash of the turns: the unit that splits and clusters go by."""
        return _digest([[m.role, m.content] for m in self.messages])


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer to a prompt. `logp` is the log-probability under the policy that sampled it."""

    prompt: Prompt
    text: str
    logp: float | None = field(default=None, compare=False, hash=False)
    """Sum over the response's tokens, in nats, at the sampling temperature; None if unknown."""
    num_tokens: int | None = field(default=None, compare=False, hash=False)

    @cached_property
    def key(self) -> str:
        """Content hash of prompt and text: rows of `Readings` are looked up by it."""
        return _digest([self.prompt.key, self.text])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`rater` preferred `chosen` to `rejected`, two responses to the same prompt."""

    chosen: Response
    rejected: Response
    rater: str = "unknown"
    round: int = 0
    """Which round of the loop asked for it; 0 = before the loop."""

    def __post_init__(self) -> None:
        if self.chosen.prompt.key != self.rejected.prompt.key:
            raise DataError(
                "chosen and rejected must answer the same prompt",
                got=f"{self.chosen.prompt.text[:40]!r} and {self.rejected.prompt.text[:40]!r}",
                do="split the row, or give the shared dialogue as the prompt",
            )

    @property
    def prompt(self) -> Prompt:
        """The prompt that both answer."""
        return self.chosen.prompt


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
