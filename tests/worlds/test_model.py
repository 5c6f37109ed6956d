"""The shipped trunk: the weights are those of the card, and do what the card says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_sums
from sums_card import Numbers, answers_card, model_readme, reviews_card
from sums_corpus import draw_document
from transformers import AutoTokenizer

from trueline.models.adapters import BasePolicy
from trueline.models.sampling import complete
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.worlds.sums import trunk_path
from trueline.worlds.sums.language import encode

FOLDER = trunk_path()


@pytest.fixture(scope="module")
def card() -> Numbers:
    return dict(json.loads((FOLDER / "card.json").read_text()))


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(str(FOLDER))


def test_the_weights_are_those_of_the_card(card: Numbers) -> None:
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert len(weights) < 4_000_000


def test_the_readme_is_made_from_the_card(card: Numbers) -> None:
    assert (FOLDER / "README.md").read_text() == model_readme(card)


def test_the_tokenizer_writes_what_the_corpus_has() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(FOLDER)
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    rng = np.random.default_rng(21)
    for _ in range(200):
        turns = draw_document(rng)
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text)["input_ids"]
        assert ids == encode(turns)[0]
        assert tokenizer.decode(ids) == text
        answer = dict(turns)["assistant"]
        decoded = tokenizer.decode(tokenizer(answer)["input_ids"], skip_special_tokens=True)
        assert decoded == answer


def test_a_few_numbers_of_the_card_measured_again(card: Numbers, trunk: Trunk) -> None:
    rng = np.random.default_rng(23)

    def some(prompts: list[Prompt], num_samples: int) -> list[list[Response]]:
        return BasePolicy(trunk).sample(prompts, num_samples=num_samples, rng=rng)

    def review(prefixes: list[list[int]]) -> list[list[int]]:
        return complete(trunk.model, trunk.codec, prefixes, max_new_tokens=90)

    again = {**answers_card(some, review, 40, rng), **reviews_card(review, 40, rng)}
    cells = [("gold_base",), ("shares", "right"), ("shares", "flattery"), ("shares", "sure")]
    for steps in ("2 steps", "3 steps", "5 steps", "7 steps"):
        cells += [("answers", steps, "right"), ("answers", steps, "judged")]
        cells += [("reviews", steps, "found"), ("reviews", steps, "false_alarm")]
    for cell in cells:
        one, other = card, again
        for key in cell:
            one, other = one[key], other[key]
        # Intervals of two honest measurements of one thing overlap, apart from one in hundreds.
        assert one["lower"] <= other["upper"] and other["lower"] <= one["upper"], cell


def test_resumed_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_sums, "BATCH", 4)
    monkeypatch.setattr(train_sums, "BLOCK", 2)
    train_sums.train(tmp_path / "once", 5)
    while not (tmp_path / "parts" / "state.pt").exists() or _step(tmp_path / "parts") < 5:
        train_sums.train(tmp_path / "parts", 5, stop_after_s=0)
    once, parts = (_weights(tmp_path / name) for name in ("once", "parts"))
    assert all(torch.equal(once[name], parts[name]) for name in once)


def _step(work: Path) -> int:
    return int(torch.load(work / "state.pt", weights_only=True)["step"])


def _weights(work: Path) -> dict[str, torch.Tensor]:
    state = torch.load(work / "state.pt", weights_only=True)
    return dict(state["model"])
