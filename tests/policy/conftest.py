"""A tiny random Llama with a word-level tokenizer: the bandit that optimisers are tested on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response, Scores

WORDS = ["<pad>", "<bos>", "<end>", "<unk>", "<user>", "<assistant>", "up", "down", "left", "go"]
TEMPLATE = (
    "<bos>{% for m in messages %} <{{ m['role'] }}> {{ m['content'] }}"
    "{% if m['role'] == 'assistant' %} <end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    """The bandit's model folder, loaded as any other."""
    folder: Path = tmp_path_factory.mktemp("bandit")
    tokens = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
    }
    (folder / "raw.json").write_text(json.dumps(tokens))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "raw.json"),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        unk_token="<unk>",
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            # Wide enough that the head, which no adapter touches, can say anything clearly.
            initializer_range=0.15,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return Trunk.load(folder)


@pytest.fixture
def policy(trunk: Trunk) -> LoraPolicy:
    return LoraPolicy.create(trunk, rank=8, rng=np.random.default_rng(0), max_new_tokens=16)


@pytest.fixture
def prompts() -> list[Prompt]:
    return [Prompt.of(f"go {'left ' * i}".strip()) for i in range(12)]


@dataclass(frozen=True)
class By:
    """A scorer by what a function says of the text, None = unscored; `nothing` stands there."""

    worth: Callable[[str], float | None]
    novelty: Callable[[np.ndarray], np.ndarray] = np.ones_like
    nothing: float = np.nan

    def score(self, prompts: object, responses: list[str]) -> Scores:
        values = [self.worth(text) for text in responses]
        known = np.array([value is not None for value in values])
        mean = np.array([self.nothing if value is None else value for value in values])
        novelty = np.where(known, self.novelty(mean), self.nothing)
        return Scores(mean, np.zeros_like(mean), mean, novelty, known)


def ups(text: str) -> float:
    """How many times the answer says "up"."""
    return float(text.split().count("up"))


COUNTS = By(ups)
LOST = By(ups, novelty=lambda mean: 1.0 + mean)
"""Counting "up" takes it away from its data."""


def blind(nothing: float = 0.0) -> By:
    """Cannot score an answer that says "down", whatever number stands there."""
    return By(lambda text: None if "down" in text.split() else ups(text), nothing=nothing)


@dataclass(frozen=True)
class Reads:
    """Counts "up", and hands out what its trunk read."""

    trunk: Trunk
    score = COUNTS.score

    def read(self, responses: list[Response]) -> tuple[Scores, Readings]:
        return self.score([], [r.text for r in responses]), self.trunk.read(responses)
