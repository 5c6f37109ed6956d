"""The training script: stopped and resumed it makes the model it would have made in one go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_sums.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_sums", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(script: ModuleType) -> ModuleType:
    script.BATCH, script.BLOCK = 4, 2
    return script


def test_resumed_is_uninterrupted(small: ModuleType, tmp_path: Path) -> None:
    small.train(tmp_path / "once", 5)
    while not (tmp_path / "parts" / "state.pt").exists() or _step(tmp_path / "parts") < 5:
        small.train(tmp_path / "parts", 5, stop_after_s=0)
    once, parts = (_weights(tmp_path / name) for name in ("once", "parts"))
    assert all(torch.equal(once[name], parts[name]) for name in once)


def test_what_is_exported_loads_and_is_what_was_trained(small: ModuleType, tmp_path: Path) -> None:
    small.train(tmp_path / "work", 2)
    small.export(tmp_path / "work", tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    trained = _weights(tmp_path / "work")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained[name].half().float())


def test_the_rate_warms_up_from_the_first_step_and_falls(script: ModuleType) -> None:
    rates = np.array([script.rate(step, 2000) for step in range(2000)])
    assert rates[0] == pytest.approx(script.PEAK_RATE / script.WARMUP)
    assert rates.argmax() in (script.WARMUP - 1, script.WARMUP)
    assert np.diff(rates[: script.WARMUP]).max() < 2 * rates[0]
    assert rates[-1] == pytest.approx(0.05 * script.PEAK_RATE, rel=0.01)


def _step(work: Path) -> int:
    return int(torch.load(work / "state.pt", weights_only=True)["step"])


def _weights(work: Path) -> dict[str, torch.Tensor]:
    state = torch.load(work / "state.pt", weights_only=True)
    return dict(state["model"])
