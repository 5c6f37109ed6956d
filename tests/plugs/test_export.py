"""An exported reward, read back by plain transformers, scores texts that TRL forms as itself."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.plugs.exporter import export
from trueline.records import Comparison, Message, Prompt, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.linear import LinearReward
from trueline.worlds.sums import trunk_path

WORDS = [" 7", " 12", " +", " ;", " answer", " sure", " the", " dog", " 3", " not"]
TURNS = (Message("user", "how many"), Message("assistant", " five"), Message("user", "go on"))


def dialogues(num: int) -> list[Response]:
    """Answers of one to eight words to prompts of one turn and of three."""
    rng = np.random.default_rng(1)
    prompts = [Prompt.of("start 7 , + 5"), Prompt(messages=TURNS)]
    return [
        Response(prompt=prompts[i // 2 % 2], text=f" {i}" + "".join(rng.choice(WORDS, 1 + i % 8)))
        for i in range(num)
    ]


def fitted(trunk: Trunk) -> LinearReward:
    said = dialogues(60)
    pairs = [Comparison(chosen=a, rejected=b) for a, b in zip(said[::2], said[1::2], strict=True)]
    return Bayesian().fit(trunk.read(said), pairs, rng=np.random.default_rng(0))


def load(folder: Path, **given: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, **given)
    return model, AutoTokenizer.from_pretrained(folder, **given)


def templated(tokenizer: Any, said: list[Response]) -> list[str]:
    """The texts as TRL forms them."""
    from trl.data_utils import apply_chat_template

    rows = []
    for r in said:
        turns = map(dataclasses.asdict, r.prompt.messages)
        rows.append({"messages": [*turns, {"role": "assistant", "content": r.text}]})
    return [apply_chat_template(row, tokenizer)["text"] for row in rows]


def scores(model: Any, tokenizer: Any, texts: list[str], **how: Any) -> np.ndarray:
    size, found = how.pop("size"), []
    for i in range(0, len(texts), size):
        batch = tokenizer(texts[i : i + size], return_tensors="pt", padding=True, **how)
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            found.append(model(**given).logits[:, 0].numpy())
    return np.concatenate(found)


@pytest.fixture
def trunk() -> Trunk:
    return Trunk.load(trunk_path())


def test_plain_transformers_reads_back_equal_scores(trunk: Trunk, tmp_path: Path) -> None:
    """Whatever the batch, the padding's side, the pad token, the mask and the special tokens."""
    reward = fitted(trunk)
    export(reward, trunk, tmp_path / "out")
    trunk.verify_frozen()
    model, tokenizer = load(tmp_path / "out", trust_remote_code=True)
    said = dialogues(11)
    ours = reward.on(trunk).score([r.prompt for r in said], [r.text for r in said])
    texts = templated(tokenizer, said)
    pads = {tokenizer.pad_token, tokenizer.eos_token or tokenizer.pad_token}
    batches = ((1, "right"), (3, "left"), (8, "right"))
    for (size, side), special, pad in itertools.product(batches, (False, True), sorted(pads)):
        tokenizer.pad_token = pad
        model.config.pad_token_id = tokenizer.pad_token_id
        how = {"padding_side": side, "add_special_tokens": special}
        found = scores(model, tokenizer, texts, size=size, **how)
        np.testing.assert_allclose(found, ours.mean, atol=1e-4, err_msg=f"{size} {how} {pad}")
    assert ours.mean.std() > 0.05
    assert "trust_remote_code" in (tmp_path / "out" / "README.md").read_text()


def test_without_trust_the_folder_is_refused_and_never_read_with_a_random_head(
    trunk: Trunk, tmp_path: Path
) -> None:
    export(fitted(trunk), trunk, tmp_path / "out")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(tmp_path / "out", trust_remote_code=False)
    model, tokenizer = load(tmp_path / "out", trust_remote_code=True)
    with pytest.raises(ValueError, match="chat template"):
        model(**tokenizer(["7 + 5 = 12"], return_tensors="pt"))
    with pytest.raises(ValueError, match="attention_mask"):
        model(input_ids=torch.ones((2, 3), dtype=torch.long))


def test_misuse_is_refused_in_one_line(trunk: Trunk, tmp_path: Path) -> None:
    reward = fitted(trunk)
    with pytest.raises(InputError, match="linear in a trunk's reading; got Conservative"):
        export(Conservative(), trunk, tmp_path / "out")  # type: ignore[arg-type]
    trunk.codec.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    trunk.codec._rendered.clear()
    with pytest.raises(SetupError, match="generation prompt that is empty"):
        export(reward, trunk, tmp_path / "out")
