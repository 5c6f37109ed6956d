"""A tiny random Llama with a word-level tokenizer: the bandit that optimisers are tested on."""

from __future__ import annotations

import json
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


class CountsUp:
    """Reward: how many times the answer says "up"."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        return as_scores([float(text.split().count("up")) for text in responses])


class Constant:
    """Every answer is worth the same."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        return as_scores([1.0 for _ in responses])


class Blind:
    """Cannot score an answer that says "down", whatever number stands there; else counts "up"."""

    def __init__(self, nothing: float = 0.0) -> None:
        self.nothing = nothing

    def score(self, prompts: object, responses: list[str]) -> Scores:
        counted = CountsUp().score(prompts, responses)
        known = np.array(["down" not in text.split() for text in responses])
        lower, novelty = (
            np.where(known, column, self.nothing) for column in (counted.lower, counted.novelty)
        )
        return Scores(lower, counted.std, lower, novelty, known)


class Mute:
    """Cannot score anything."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        nan = np.full(len(responses), np.nan)
        return Scores(nan, nan, nan, nan, np.zeros(len(nan), bool))


class Lost:
    """Counts "up", which takes it away from its data."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        counted = CountsUp().score(prompts, responses)
        novelty = 1.0 + counted.lower
        return Scores(counted.mean, counted.std, counted.lower, novelty, counted.scored)


class Reads(CountsUp):
    """Counts "up", and hands out what its trunk read."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk

    def read(self, responses: list[Response]) -> tuple[Scores, Readings]:
        return self.score([], [r.text for r in responses]), self.trunk.read(responses)


def as_scores(values: list[float]) -> Scores:
    mean = np.array(values)
    return Scores(mean, np.zeros_like(mean), mean, np.ones_like(mean), np.ones(len(mean), bool))
