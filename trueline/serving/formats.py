"""What trainers send and what they expect back, as checked models.

OpenRLHF 0.11 posts full texts with their prompts; verl 0.9 posts one text, as to vLLM 0.33's
`/classify`, and reads `data[-1].probs[-1]`; slime posts one prompt and response and takes a number,
or an object of which it reads one key. `/score` is our own format and says everything.

Where we differ: `/classify` gives no token counts (`usage` is null); its sigmoid is applied where
vLLM would (unless `use_activation` is false) to the one number chosen by `--use`; token ids are
refused, since the sender's tokenizer need not be the trunk's. An unscored row is null where the
format has a place for null, and refused or given the operator's number where it has none.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from trueline.errors import InputError
from trueline.records import Message, Outcome, Prompt, Score
from trueline.serving.batcher import Item
from trueline.serving.dialogue import Splitter

__all__ = [
    "ClassifyReply",
    "ClassifyRequest",
    "OpenRLHFReply",
    "OpenRLHFRequest",
    "Policy",
    "Problem",
    "Row",
    "ScoreReply",
    "ScoreRequest",
    "SlimeReply",
    "SlimeRequest",
    "lengths",
]


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]})


Asked = str | Annotated[list["Turn"], Field(min_length=1, max_length=512)]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which number stands for a row in formats that hold one, and what for an unscored row."""

    use: Literal["mean", "lower"]
    unscored: float | None
    """The operator's number; None = such a request is refused (422)."""

    def __post_init__(self) -> None:
        if self.unscored is not None and not math.isfinite(self.unscored):
            raise InputError("the number of an unscored row must be finite", got=str(self.unscored))

    def number(self, row: Score) -> float:
        """The row's one number."""
        value: float | None = getattr(row, self.use)
        if value is None:
            value = self.unscored
        if value is None:
            raise InputError(
                "this format holds numbers only, so every row must be scored",
                got=f"an unscored row ({row.reason})",
                do="use /score, or start the server with --unscored NUMBER",
            )
        return value


class Turn(BaseModel):
    """One turn of a dialogue."""

    role: Annotated[str, Field(min_length=1, max_length=32)]
    content: str


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


class ScoreRequest(BaseModel):
    """Prompts (plain words of a user, or lists of turns) and the responses to them."""

    shape: ClassVar[str] = '{"prompts": [text or [turn, …], …], "responses": [text, …]}'
    model_config = _example(prompts=["start 7 , + 5"], responses=["7 + 5 = 12 ; answer 12 sure"])
    prompts: list[Asked]
    responses: list[str]

    def items(self, splitter: Splitter) -> list[Item]:
        """One item a row."""
        same_length(self.responses, prompts=self.prompts)
        return [(_prompt(p), r) for p, r in zip(self.prompts, self.responses, strict=True)]


class Row(BaseModel):
    """What the reward says of one response; the numbers are null where it is unscored."""

    outcome: Outcome
    mean: float | None
    std: float | None
    lower: float | None
    novelty: float | None
    interval: tuple[float | None, float | None] | None
    """Calibrated interval, where the reward was calibrated; an end is null where there is none."""
    reason: str | None
    """Why it is unscored."""


class ScoreReply(BaseModel):
    """Row i answers response i."""

    rows: list[Row]

    @staticmethod
    def of(rows: Sequence[Score]) -> dict[str, Any]:
        """The reply's JSON."""
        return {"rows": [plain(row) for row in rows]}


class OpenRLHFRequest(BaseModel):
    """Full texts and the prompts that they begin with; labels are not read."""

    shape: ClassVar[str] = '{"query": [text, …], "prompts": [text, …], "labels": […]}'
    model_config = _example(query=["start 7 : 7"], prompts=["start 7 :"], labels=["7"])
    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """One item a row."""
        same_length(self.query, prompts=self.prompts, labels=self.labels)
        if self.prompts is None:
            return [splitter.whole(text) for text in self.query]
        return [splitter.after(q, p) for q, p in zip(self.query, self.prompts, strict=True)]


class OpenRLHFReply(BaseModel):
    """`rewards` to train on, `scores` to filter by (the same numbers), columns to log."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]

    @staticmethod
    def of(rows: Sequence[Score], policy: Policy) -> dict[str, Any]:
        """The reply's JSON. Its columns are the same in every reply of one server."""
        numbers = [policy.number(row) for row in rows]
        logs: dict[str, list[Any]] = {
            "unscored": [float(row.outcome is Outcome.UNSCORED) for row in rows]
        }
        if policy.unscored is None:
            for name in ("mean", "std", "novelty"):
                logs[name] = [getattr(row, name) for row in rows]
        return {"rewards": numbers, "scores": numbers, "extra_logs": logs}


class ClassifyRequest(BaseModel):
    """vLLM's: texts that hold prompt and response, or the turns of one dialogue."""

    shape: ClassVar[str] = (
        '{"input": text or [text, …], "use_activation": false}; token ids are not read'
    )
    model_config = _example(input="\n\nHuman: Hello\n\nAssistant: Hi", use_activation=False)
    model: str | None = None
    input: str | list[str] | None = None
    messages: Annotated[list[Turn], Field(min_length=2, max_length=512)] | None = None
    use_activation: bool | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """One item a text."""
        if (self.input is None) == (self.messages is None):
            raise InputError("a request must hold `input` or `messages`, one of them")
        if self.messages is not None:
            *before, last = self.messages
            if last.role != "assistant":
                raise InputError("the last message must be the assistant's", got=repr(last.role))
            return [(_prompt(before), last.content)]
        texts = [self.input] if isinstance(self.input, str) else self.input or []
        return [splitter.whole(text) for text in texts]


class ClassData(BaseModel):
    """One text's number."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassifyReply(BaseModel):
    """vLLM's, without token counts."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[ClassData]
    usage: None

    @staticmethod
    def of(rows: Sequence[Score], policy: Policy, asked: ClassifyRequest) -> dict[str, Any]:
        """The reply's JSON; by vLLM's default the number goes through a sigmoid."""
        data: list[dict[str, Any]] = [
            {"index": i, "label": None, "probs": [policy.number(row)], "num_classes": 1}
            for i, row in enumerate(rows)
        ]
        if asked.use_activation is not False:
            for one in data:
                one["probs"] = [float(expit(one["probs"][0]))]
        return {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": asked.model or "reward",
            "data": data,
            "usage": None,
        }


class SlimeRequest(BaseModel):
    """One sample; the label is not read."""

    shape: ClassVar[str] = '{"prompt": text or [turn, …], "response": text, "label": …}'
    model_config = _example(prompt="start 7 , + 5", response="answer 12", label="12")
    prompt: Asked
    response: str
    label: Any = None

    def items(self, splitter: Splitter) -> list[Item]:
        """The one item."""
        if isinstance(self.prompt, str):
            return [splitter.after(self.prompt + self.response, self.prompt)]
        return [(_prompt(self.prompt), self.response)]


class SlimeReply(Row):
    """With `?reply=object`: all that is known; slime reads one key (`--reward-key score`)."""

    score: float | None

    @staticmethod
    def of(row: Score, policy: Policy, *, whole: bool) -> Any:
        """A number, or an object whose `score` may be null."""
        if not whole:
            return policy.number(row)
        value = getattr(row, policy.use)
        return {"score": policy.unscored if value is None else value, **plain(row)}


def lengths(asked: BaseModel) -> tuple[int, int]:
    """Rows of a request, and characters of its longest text (of a dialogue: of all its turns)."""
    rows, texts = 1, list[Any]()
    for name, value in asked:
        if name in ("label", "labels"):
            continue
        many = isinstance(value, list) and not (value and isinstance(value[0], Turn))
        rows = max(rows, len(value)) if many else rows
        texts += value if many else [value]
    return rows, max((_chars(text) for text in texts), default=0)


def _chars(text: Any) -> int:
    if isinstance(text, list):
        return sum(len(turn.content) for turn in text)
    return len(text) if isinstance(text, str) else 0


def plain(row: Score) -> dict[str, Any]:
    """A row as JSON."""
    return {
        "outcome": row.outcome.value,
        "mean": row.mean,
        "std": row.std,
        "lower": row.lower,
        "novelty": row.novelty,
        "interval": row.interval and [x if math.isfinite(x) else None for x in row.interval],
        "reason": row.reason,
    }


def same_length(rows: Sequence[Any], **others: Sequence[Any] | None) -> None:
    """Every list given must be as long as the rows."""
    for name, other in others.items():
        if other is not None and len(other) != len(rows):
            raise InputError(
                f"`{name}` must be as long as the rows", got=f"{len(other)} for {len(rows)} rows"
            )


def _prompt(asked: str | Sequence[Turn]) -> Prompt:
    if isinstance(asked, str):
        return Prompt.of(asked)
    return Prompt(messages=tuple(Message(turn.role, turn.content) for turn in asked))
