"""GRPO's loss and the advantages against TRL's own code, on the same tensors.

TRL's methods are called unbound, on a stand-in that has what they read and a model pass that gives
back the tensors of the test: what is compared is the arithmetic, in values and in gradients.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trueline.policy.grpo import clipped_surrogate, group_relative

trl = pytest.importorskip("trl", reason="TRL is an extra of the benchmarks")
datasets = pytest.importorskip("datasets", reason="comes with trl")
N, T, PROMPT = 6, 7, 3
LENGTHS = np.array([7, 3, 5, 1, 7, 4])


def test_this_is_the_version_whose_arithmetic_was_read():
    assert trl.__version__.startswith("1.16")


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    mask = torch.arange(T)[None] < torch.from_numpy(LENGTHS)[:, None]
    logps = -torch.rand(N, T, generator=draw) * 3

    def near(spread: float) -> torch.Tensor:
        return torch.where(mask, logps + spread * torch.randn(N, T, generator=draw), 0.0)

    return {
        "logps": torch.where(mask, logps, 0.0),
        "old": near(0.3),
        "reference": near(0.5),
        "mask": mask,
        "advantages": torch.randn(N, generator=draw),
    }


def their_grpo(given: dict[str, torch.Tensor]) -> Any:
    """The loss of `GRPOTrainer` and its gradient by the log-probabilities."""
    logps = given["logps"].clone().requires_grad_()
    one_process = SimpleNamespace(
        num_processes=1,
        device=torch.device("cpu"),
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,
    )
    trainer = SimpleNamespace(
        accelerator=one_process,
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        aux_loss_enabled=False,
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, torch.zeros(N, T), None),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=0.0,
        loss_type="dapo",
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
    )
    ids = torch.zeros(N, T, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones(N, PROMPT, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": given["mask"].long(),
        "advantages": given["advantages"],
        "old_per_token_logps": given["old"],
        "ref_per_token_logps": given["reference"],
        "num_items_in_batch": given["mask"].sum(),
    }
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return loss.detach(), logps.grad


def test_grpo_is_theirs(tensors):
    """DAPO's normalisation: every token of the batch counts the same."""
    loss, gradient = their_grpo(tensors)
    logps = tensors["logps"].clone().requires_grad_()
    cost = clipped_surrogate(logps, tensors["old"], tensors["advantages"], epsilon=0.2)
    ours = ((cost * tensors["mask"]).sum(1) / LENGTHS.mean()).mean()
    ours.backward()
    assert torch.allclose(ours, loss, atol=1e-6)
    assert torch.allclose(logps.grad, gradient, atol=1e-6)
    assert float(gradient.abs().max()) > 0.01


def test_advantages_are_those_of_their_trainer(trunk, tmp_path, monkeypatch):
    """One step of a real trainer, whose reward function cannot score every sample."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rewards = np.random.default_rng(4).standard_normal((2, 4))
    rewards[0, 2] = np.nan
    args = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=4,
        beta=0.0,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        save_strategy="no",
    )
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(trunk.model),
        processing_class=trunk.codec.tokenizer,
        reward_funcs=lambda completions, **_: [
            None if np.isnan(reward) else float(reward) for reward in rewards.reshape(-1)
        ],
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["go left", "go up"]}),
    )
    trainer.train()
    theirs = np.array(list(trainer._logs["advantages"])).reshape(2, 4)
    ours = group_relative(rewards)
    assert np.allclose(np.nan_to_num(ours), theirs, atol=1e-5)
    assert np.isnan(ours[0, 2]) and theirs[0, 2] == 0
