"""Say what trainers send, as checked models that read themselves into prompts and responses.

OpenRLHF 0.11 posts full texts with their prompts; verl 0.9 posts one text, as to vLLM 0.33's
`/classify`; slime posts one prompt and response. `/score` is our own format. Prompts are read as in
preference files: words, a text dialogue, or messages. Token ids are refused, since the sender's
tokenizer need not be the trunk's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from trueline.data.formats import prompt_in
from trueline.errors import InputError
from trueline.records import Prompt
from trueline.serving.batcher import Item
from trueline.serving.dialogue import Splitter

__all__ = ["ClassifyRequest", "OpenRLHFRequest", "ScoreRequest", "SlimeRequest"]

RequestItem = str | Annotated[list[dict[str, Any]], Field(max_length=512)]
"""A prompt: text, or turns with role and content."""


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]})


class ScoreRequest(BaseModel):
    """Prompts and the responses to them."""

    model_config = _example(prompts=["start 7 , + 5"], responses=["7 + 5 = 12 ; answer 12 sure"])
    prompts: list[RequestItem]
    responses: list[str]

    def items(self, _: Splitter) -> list[Item]:
        """Return one item a row."""
        return [(_read(p), r) for p, r in _rows(self.prompts, self.responses)]


class OpenRLHFRequest(BaseModel):
    """Full texts and the prompts that they begin with; labels are not read."""

    model_config = _example(query=["start 7 : 7"], prompts=["start 7 :"], labels=["7"])
    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None

    def items(self, splitter: Splitter) -> list[Item]:
        """Return one item a row."""
        if self.prompts is None:
            return [splitter.whole(text) for text in self.query]
        return [splitter.after(text, p) for p, text in _rows(self.prompts, self.query)]


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
        return [(_read(self.prompt), self.response)]


def _rows(prompts: Sequence[Any], texts: Sequence[str]) -> Iterable[tuple[Any, str]]:
    if len(prompts) != len(texts):
        got = f"{len(prompts)} for {len(texts)} texts"
        raise InputError("`prompts` must be as long as the texts", got=got)
    return zip(prompts, texts, strict=True)


def _read(prompt: str | list[dict[str, Any]]) -> Prompt:
    return prompt_in({"prompt": prompt})
