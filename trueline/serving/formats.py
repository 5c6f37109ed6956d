"""Say what trainers send and what they expect back, as checked models.

OpenRLHF 0.11 posts full texts with their prompts; verl 0.9 posts one text, as to vLLM 0.33's
`/classify`, and reads `data[-1].probs[-1]`; slime posts one prompt and response and takes a number.
`/score` is our own format and says everything.

Where we differ: `/classify` gives no token counts; its sigmoid is applied where vLLM would (unless
`use_activation` is false) to the one number chosen by `--use`; token ids are refused, since the
sender's tokenizer need not be the trunk's. In plain numbers an unscored row is refused or
given the operator's number.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from trueline.errors import InputError
from trueline.records import Message, Outcome, Prompt, Score
from trueline.serving.batcher import Item
from trueline.serving.dialogue import Splitter

__all__ = ["ClassifyRequest", "OpenRLHFRequest", "ScoreChoice", "ScoreReply", "ScoreRequest"]
__all__ += ["SlimeRequest", "classify_reply", "openrlhf_reply"]


@dataclass(frozen=True, kw_only=True)
class ScoreChoice:
    """Which number stands for a row in formats that hold one, and what for an unscored row."""

    use: Literal["mean", "lower"]
    unscored: float | None
    """The operator's number; None = such a request is refused (422)."""

    def __post_init__(self) -> None:
        if self.unscored is not None and not math.isfinite(self.unscored):
            raise InputError("the number of an unscored row must be finite", got=str(self.unscored))

    def number(self, row: Score) -> float:
        """Return the row's one number; `InputError` where there is none."""
        value: float | None = getattr(row, self.use)
        value = self.unscored if value is None else value
        if value is None:
            raise InputError(
                "this format holds numbers only, so every row must be scored",
                got=f"an unscored row ({row.reason})",
                do="use /score, or start the server with --unscored NUMBER",
            )
        return value


class ChatTurn(BaseModel):
    """One turn of a dialogue."""

    role: Annotated[str, Field(min_length=1, max_length=32)]
    content: str


RequestItem = str | Annotated[list[ChatTurn], Field(min_length=1, max_length=512)]
"""A prompt: the plain words of a user, or turns."""


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]})


class ScoreRequest(BaseModel):
    """Prompts and the responses to them."""

    model_config = _example(prompts=["start 7 , + 5"], responses=["7 + 5 = 12 ; answer 12 sure"])
    prompts: list[RequestItem]
    responses: list[str]

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        _same_length(self.responses, prompts=self.prompts)
        return [(_prompt(p), r) for p, r in zip(self.prompts, self.responses, strict=True)]


class ScoreReply(BaseModel):
    """Row i answers response i; its numbers are null where it is unscored."""

    rows: list[Score]


class OpenRLHFRequest(BaseModel):
    """Full texts and the prompts that they begin with; labels are not read."""

    model_config = _example(query=["start 7 : 7"], prompts=["start 7 :"], labels=["7"])
    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        _same_length(self.query, prompts=self.prompts, labels=self.labels)
        if self.prompts is None:
            return [splitter.whole(text) for text in self.query]
        return [splitter.after(q, p) for q, p in zip(self.query, self.prompts, strict=True)]


class ClassifyRequest(BaseModel):
    """vLLM's: texts that hold prompt and response, no token ids."""

    model_config = _example(input="\n\nHuman: Hello\n\nAssistant: Hi", use_activation=False)
    model: str = "reward"
    input: str | list[str]
    use_activation: bool | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a text."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return [splitter.whole(text) for text in texts]


class SlimeRequest(BaseModel):
    """One sample; the label is not read."""

    model_config = _example(prompt="start 7 , + 5", response="answer 12", label="12")
    prompt: RequestItem
    response: str
    label: Any = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return the one item."""
        if isinstance(self.prompt, str):
            return [splitter.after(self.prompt + self.response, self.prompt)]
        return [(_prompt(self.prompt), self.response)]


def openrlhf_reply(rows: Sequence[Score], choice: ScoreChoice) -> dict[str, Any]:
    """Return `rewards` to train on, `scores` to filter by (the same numbers), and columns to log.

    The columns are the same in every reply of one server, as OpenRLHF needs.
    """
    numbers = [choice.number(row) for row in rows]
    logs = {"unscored": [float(row.outcome is Outcome.UNSCORED) for row in rows]}
    if choice.unscored is None:
        logs |= {name: [getattr(row, name) for row in rows] for name in ("mean", "std", "novelty")}
    return {"rewards": numbers, "scores": numbers, "extra_logs": logs}


def classify_reply(
    rows: Sequence[Score], choice: ScoreChoice, asked: ClassifyRequest
) -> dict[str, Any]:
    """Return vLLM's reply; by its default the number goes through a sigmoid."""
    numbers = [choice.number(row) for row in rows]
    if asked.use_activation is not False:
        numbers = [float(expit(x)) for x in numbers]
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        # A name in a body may hold what UTF-8 cannot say.
        "model": asked.model.encode("utf-8", "replace").decode(),
        "data": [
            {"index": i, "label": None, "probs": [x], "num_classes": 1}
            for i, x in enumerate(numbers)
        ],
        "usage": None,
    }


def _same_length(rows: Sequence[Any], **others: Sequence[Any] | None) -> None:
    for name, other in others.items():
        if other is not None and len(other) != len(rows):
            raise InputError(
                f"`{name}` must be as long as the rows", got=f"{len(other)} for {len(rows)} rows"
            )


def _prompt(asked: str | Sequence[ChatTurn]) -> Prompt:
    if isinstance(asked, str):
        return Prompt.of(asked)
    return Prompt(messages=tuple(Message(turn.role, turn.content) for turn in asked))
