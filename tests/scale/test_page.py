"""docs/scale.md holds what the benchmark wrote, and its arithmetic is that of real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.layouts import LLAMA_7B, LLAMA_70B, Round, Shape, layouts, tables
from benchmarks.scale import between, headlines, measured
from tests.models.conftest import make_chat_model
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.rng import stream

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text()


def test_the_tables_are_those_of_the_commands() -> None:
    result = json.loads((ROOT / "results" / "scale.json").read_text())
    assert tables(Round()) in PAGE and measured(result) in PAGE
    assert headlines(result) == result["headlines"]
    assert between(PAGE, "measured", measured(result)) == PAGE


def test_parameters_are_those_of_llama_2() -> None:
    assert (LLAMA_7B.parameters, LLAMA_70B.parameters) == (6_738_415_616, 68_976_648_192)


def test_adapters_are_as_large_as_peft_makes_them(tmp_path: Path) -> None:
    policy = LoraPolicy.create(Trunk.load(make_chat_model(tmp_path)), rank=3, rng=stream(0, "a"))
    shape = Shape(name="tiny", blocks=2, width=32, inner=48, kv_width=16, words=40)
    assert shape.adapter(3) == sum(p.numel() for p in policy.trainable())


def test_bytes_and_passes_of_the_layouts() -> None:
    ours, adapter, grpo, ppo = layouts()
    held = [layout.bytes_held(LLAMA_7B, Round()) for layout in (grpo, ppo)]
    assert held == [20 * LLAMA_7B.parameters, 36 * LLAMA_7B.parameters]
    assert [layout.passes for layout in (ours, adapter, grpo, ppo)] == [4, 5, 6, 12]
    assert ours.bytes_held(LLAMA_7B, Round()) == pytest.approx(2 * LLAMA_7B.parameters, rel=0.05)
