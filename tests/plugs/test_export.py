"""Exported rewards and policies, read back by plain transformers and peft, are what they were."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.loop.conftest import QUICK, make_sums_task, run
from tests.models.test_chat_format import TEMPLATES, codec
from trueline.errors import InputError, SetupError
from trueline.loop.resume import State, certified_of
from trueline.models.rollouts import Sampling
from trueline.models.trunk import Trunk
from trueline.plugs import export_policy
from trueline.plugs.exporter import _layout, export
from trueline.plugs.reward_model import place
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


@pytest.fixture(scope="module")
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


def test_misuse_is_refused_in_one_line(tmp_path: Path) -> None:
    trunk = Trunk.load(trunk_path())
    reward = fitted(trunk)
    with pytest.raises(InputError, match="linear in a trunk's reading; got Conservative"):
        export(Conservative(), trunk, tmp_path / "out")  # type: ignore[arg-type]
    trunk.codec.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    trunk.codec.template.frame.cache_clear()
    with pytest.raises(SetupError, match="shows it 0 times"):
        export(reward, trunk, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:the chat template")
@pytest.mark.parametrize("name", [name for name, (_, end) in TEMPLATES.items() if end])
def test_answers_are_found_in_texts_of_any_template(name: str) -> None:
    """System turns, prompts and answers too long, answers that begin with blanks or are empty."""
    asked = codec(name, 120)
    tokenizer, layout = _layout(SimpleNamespace(codec=asked))  # type: ignore[arg-type]
    turns = [Message("system", "Be kind."), Message("user", "b " * 99), Message("user", "Why?")]
    if len(asked.template.frame(Prompt(messages=tuple(turns[:2]))).turns) == 1:
        del turns[0]
    if "alternate" in name:
        del turns[-1]
    for text in ("So (it) is.", " a", "\n\nb", "", "x" * 200):
        said = [
            {"role": t.role, "content": t.content} for t in (*turns, Message("assistant", text))
        ]
        ids = tokenizer.apply_chat_template(said)["input_ids"]
        (row,) = asked.encode([Response(prompt=Prompt(messages=tuple(turns)), text=text)])
        assert place(ids, layout) == (row.ids, row.start, row.stop), text


@pytest.fixture(scope="module")
def certified(trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run and the policy that its first round certified; the second one's was not."""
    place = tmp_path_factory.mktemp("runs") / "run"
    assert run(QUICK, make_sums_task(trunk), place)["certified_round"] == 1
    return place, State.load(certified_of(place)[0], trunk)


def logits(model: Any, trunk: Trunk) -> torch.Tensor:
    ids = trunk.codec.prompt_ids([Prompt.of("start 7 , + 5 , × 3 .")])
    with torch.no_grad():
        return model(torch.tensor(ids)).logits


def test_the_adapter_on_its_base_model_is_the_certified_policy(trunk, certified, tmp_path):
    place, state = certified
    before = trunk.fingerprint()
    found = export_policy(place, trunk, tmp_path / "adapter")
    assert found["form"] == "adapter" and found["round"] == 1
    base = AutoModelForCausalLM.from_pretrained(trunk_path(), dtype=torch.float32)
    plain = logits(base, trunk)
    ours = PeftModel.from_pretrained(base, tmp_path / "adapter")
    expected = logits(state.certified.network, trunk)
    assert torch.allclose(logits(ours, trunk), expected, atol=1e-5)
    assert not torch.allclose(expected, plain, atol=1e-2), "it has learned something"
    assert not torch.allclose(logits(state.working.network, trunk), expected, atol=1e-3)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert trunk.verify_frozen() == before
    card = (tmp_path / "adapter" / "README.md").read_text()
    gate = state.rounds[0]["gate"]
    assert f"{gate['win_rate']['value']:.0%}" in card and f"of {gate['labels']} fresh" in card
    for file in (tmp_path / "adapter").iterdir():
        assert str(trunk_path()).encode() not in file.read_bytes()
        assert str(place).encode() not in file.read_bytes()


def test_merged_it_is_a_whole_model_that_generates(trunk, certified, tmp_path):
    place, state = certified
    out = tmp_path / "merged"
    assert export_policy(place, trunk, out, merged=True)["form"] == "merged"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    expected = logits(state.certified.network, trunk)
    assert torch.allclose(logits(model, trunk), expected, atol=1e-4)
    assert model.generation_config.eos_token_id == trunk.codec.end_id
    turns = [{"role": "user", "content": "start 7 , + 5 ."}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    said = model.generate(**ids, max_new_tokens=60, do_sample=False)
    assert said[0, -1] == trunk.codec.end_id
    assert not list(out.glob("adapter*"))
    trunk.verify_frozen()


def test_what_was_not_certified_is_not_exported(trunk, certified, tmp_path):
    place, _ = certified
    run(replace(QUICK, rounds=1, labels=12, alpha=1e-6), make_sums_task(trunk), tmp_path / "run")
    with pytest.raises(InputError, match="got none of 1"):
        export_policy(tmp_path / "run", trunk, tmp_path / "out")
    # Unless it is asked for by its round; and then it says so, and how it is to be sampled.
    how = {"round": 1, "merged": True, "sampling": Sampling(temperature=0.7, top_p=0.9)}
    assert export_policy(tmp_path / "run", trunk, tmp_path / "held", **how)["gate"] == "hold"
    assert "NOT certified" in (tmp_path / "held" / "README.md").read_text()
    said = AutoModelForCausalLM.from_pretrained(tmp_path / "held").generation_config
    assert (said.temperature, said.top_p) == (0.7, 0.9)
    with pytest.raises(InputError, match="was kept: 1; got 2"):
        export_policy(tmp_path / "run", trunk, tmp_path / "out", round=2)
    (tmp_path / "note").write_text("mine")
    with pytest.raises(SetupError, match="new or empty folder"):
        export_policy(place, trunk, tmp_path)
