"""GRPO's loss and the advantages against TRL's own code, on the same tensors.

A real trainer makes one step; its loss is then asked for with a model pass that gives back the
tensors of the test: what is compared is the arithmetic, in values and in gradients.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from trueline.models.trunk import Trunk
from trueline.policy.grpo import clipped_surrogate, group_relative

trl = pytest.importorskip("trl", reason="TRL is an extra of the benchmarks")
N, T, PROMPT = 6, 7, 3
LENGTHS = np.array([7, 3, 5, 1, 7, 4])
REWARDS = np.random.default_rng(4).standard_normal((2, 4))
REWARDS[0, 2] = np.nan


@pytest.fixture(scope="module")
def trainer(trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """After one step, with a reward function that cannot score every sample."""
    place: Path = tmp_path_factory.mktemp("trl")
    sizes = {"num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 4}
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "bf16": False}
    args = trl.GRPOConfig(str(place), max_steps=1, beta=0.0, save_strategy="no", **sizes, **quiet)
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(trunk.model),
        processing_class=trunk.codec.tokenizer,
        reward_funcs=lambda completions, **_: [
            None if np.isnan(reward) else float(reward) for reward in REWARDS.reshape(-1)
        ],
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["go left", "go up"]}),
    )
    trainer.train()
    return trainer


def test_advantages_are_those_of_their_trainer(trainer):
    assert trl.__version__.startswith("1.16"), "the version whose arithmetic was read"
    theirs = np.array(list(trainer._logs["advantages"])).reshape(2, 4)
    ours = group_relative(REWARDS)
    assert np.allclose(np.nan_to_num(ours), theirs, atol=1e-5)
    assert np.isnan(ours[0, 2]) and theirs[0, 2] == 0


def test_the_loss_is_theirs(trainer, monkeypatch):
    """DAPO's normalisation: every token of the batch counts the same."""
    draw = torch.Generator().manual_seed(3)
    mask = torch.arange(T)[None] < torch.from_numpy(LENGTHS)[:, None]
    logps = torch.where(mask, -torch.rand(N, T, generator=draw) * 3, 0.0)
    old = torch.where(mask, logps + 0.3 * torch.randn(N, T, generator=draw), 0.0)
    advantages = torch.randn(N, generator=draw)
    theirs, ours = (logps.clone().requires_grad_() for _ in range(2))
    passed = (theirs, torch.zeros(N, T), None)
    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", lambda *_, **__: passed)
    monkeypatch.setattr(trainer, "current_gradient_accumulation_steps", 1)
    trainer.model.train()
    ids = torch.zeros(N, T, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones(N, PROMPT, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": mask.long(),
        "advantages": advantages,
        "old_per_token_logps": old,
        "num_items_in_batch": mask.sum(),
    }
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    cost = clipped_surrogate(ours, old, advantages, epsilon=0.2)
    mean = ((cost * mask).sum(1) / LENGTHS.mean()).mean()
    mean.backward()
    assert torch.allclose(mean, loss, atol=1e-6)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)
    assert float(theirs.grad.abs().max()) > 0.01
