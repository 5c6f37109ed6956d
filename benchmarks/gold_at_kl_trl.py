"""TRL 1.16 as the rival: its RewardTrainer and its GRPOTrainer, on our labels, prompts and adapter.

GRPOTrainer starts from the same adapter (rank 16 on all linear maps, A drawn by the same stream,
B zero), takes the same prompts in the same order, as many samples of each, and no KL penalty (its
default). Its own reward model is what RewardTrainer makes of the trunk with one output, all weights
trained on the very tokens that GRPOTrainer shows it later; or any reward function is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trueline.data.comparisons import Comparisons
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Prompt
from trueline.worlds.sums import trunk_path

__all__ = ["accuracy", "improve", "reward_model"]

QUIET = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "logging_strategy": "no",
    "disable_tqdm": True,
}


def reward_model(trunk: Trunk, pairs: Comparisons, *, lr: float, epochs: int, seed: int) -> Any:
    """A sequence classifier by TRL's RewardTrainer."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    columns = {
        f"{side}_ids": [row.ids for row in trunk.codec.encode([getattr(c, side) for c in pairs])]
        for side in ("chosen", "rejected")
    }
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(trunk_path()), num_labels=1, dtype=torch.float32
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=16,
                num_train_epochs=epochs,
                learning_rate=lr,
                max_length=None,
                seed=seed,
                **QUIET,
            ),
            train_dataset=Dataset.from_dict(columns),
            processing_class=_tokenizer(),
        )
        trainer.train()
    return model.eval()


@torch.inference_mode()
def accuracy(model: Any, trunk: Trunk, pairs: Comparisons) -> float:
    """Share of pairs that a reward model ranks as they are labelled."""
    right = 0
    for pair in pairs:
        rows = [row.ids for row in trunk.codec.encode([pair.chosen, pair.rejected])]
        good, bad = (float(model(input_ids=torch.tensor([ids])).logits) for ids in rows)
        right += good > bad
    return right / len(pairs)


def improve(
    policy: LoraPolicy,
    prompts: Sequence[Prompt],
    reward: Any,
    *,
    lr: float,
    batch_size: int,
    num_samples: int,
    every: int,
    seen: Callable[[LoraPolicy], None],
    seed: int,
) -> None:
    """One GRPO run over the prompts; `seen` is shown the policy after every so many steps."""
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    start = _adapter(policy.adapted)

    class Show(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step % every == 0:
                now = policy.copy()
                set_peft_model_state_dict(now.adapted, _adapter(more["model"]))
                seen(now)

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(str(trunk_path()), dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=batch_size * num_samples,
                num_generations=num_samples,
                max_completion_length=policy.max_new_tokens,
                learning_rate=lr,
                lr_scheduler_type="constant_with_warmup",
                warmup_steps=5,
                max_steps=len(prompts) // batch_size,
                shuffle_dataset=False,
                seed=seed,
                **QUIET,
            ),
            train_dataset=Dataset.from_dict(
                {"prompt": [[{"role": "user", "content": p.text}] for p in prompts]}
            ),
            processing_class=_tokenizer(),
            reward_processing_classes=_tokenizer() if isinstance(reward, torch.nn.Module) else None,
            peft_config=_lora(),
            callbacks=[Show()],
        )
        set_peft_model_state_dict(trainer.model, start)
        trainer.train()


def _lora() -> Any:
    """An adapter of the shape of ours."""
    from peft import LoraConfig

    return LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _adapter(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model)
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(trunk_path()))
