"""The shipped trunk and critic: the weights are those of the cards, and do what the cards say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_critic
import train_sums
from sums_card import Numbers, answers_card, model_readme, reviews_card
from sums_corpus import draw_document
from transformers import AutoTokenizer

from trueline.models.adapters import BasePolicy
from trueline.models.sampling import complete
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.worlds.sums import trunk_path
from trueline.worlds.sums.critic import critic_path, trained_critic
from trueline.worlds.sums.language import encode

FOLDER = trunk_path()
CARD: Numbers = json.loads((FOLDER / "card.json").read_text())
REVIEWED: Numbers = json.loads((critic_path() / "card.json").read_text())


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(str(FOLDER))


def overlap(one: Numbers, other: Numbers) -> None:
    """Intervals of two honest measurements of one thing do, apart from one in hundreds."""
    assert one["lower"] <= other["upper"] and other["lower"] <= one["upper"], (one, other)


def test_the_weights_are_those_of_the_card() -> None:
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == CARD["sha256"]
    assert len(weights) < 4_000_000


def test_the_readme_is_made_from_the_card() -> None:
    assert (FOLDER / "README.md").read_text() == model_readme(CARD)


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


def test_a_few_numbers_of_the_card_measured_again(trunk: Trunk) -> None:
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
        one, other = CARD, again
        for key in cell:
            one, other = one[key], other[key]
        overlap(one, other)


def test_resumed_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_sums, "BATCH", 4)
    monkeypatch.setattr(train_sums, "BLOCK", 2)
    train_sums.train(tmp_path / "once", 5)

    def state(name: str) -> dict[str, Any]:
        return dict(torch.load(tmp_path / name / "state.pt", weights_only=True))

    while not (tmp_path / "parts" / "state.pt").exists() or state("parts")["step"] < 5:
        train_sums.train(tmp_path / "parts", 5, stop_after_s=0)
    once, parts = (state(name)["model"] for name in ("once", "parts"))
    assert all(torch.equal(once[name], parts[name]) for name in once)


def test_the_critic_is_that_of_its_card(trunk: Trunk) -> None:
    weights = (critic_path() / "adapter_model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == REVIEWED["sha256"]
    assert trunk.fingerprint() == REVIEWED["trunk"]
    assert len(weights) < 500_000
    assert REVIEWED["cpu_s"] < 25 * 60


def test_a_few_numbers_of_the_critics_card_measured_again(
    trunk: Trunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_critic, "SEED", 71)
    again = train_critic.found_and_invented(trained_critic(trunk), 15, ("3 steps", "9 steps"))
    for name, row in again.items():
        for measure, one in row.items():
            overlap(REVIEWED["reviews"]["after"][name][measure], one)
    trunk.verify_frozen()
