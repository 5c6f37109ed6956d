"""An exported policy, read back by plain peft and transformers, says what the policy says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.loop.conftest import QUICK, make_sums_task, run
from trueline.errors import InputError, SetupError
from trueline.loop.resume import State, certified_of
from trueline.models.trunk import Trunk
from trueline.plugs import export_policy
from trueline.records import Prompt
from trueline.worlds.sums import trunk_path


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(str(trunk_path()))


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
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(SetupError, match="new or empty folder"):
        export_policy(place, trunk, tmp_path / "full")
