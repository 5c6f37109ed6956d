"""TRL's arm: GRPOTrainer and RewardTrainer with the settings that made them fastest here.

One gradient step a batch of fresh samples, as ours; checkpointing, logging, saving, progress bar
and worker processes off. What can be chosen is `Choice`; the reference is the model without its
adapter, or a second model where all weights train.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

from benchmarks.trl_clock import Clock
from benchmarks.trl_setting import Setting
from trueline.data.comparisons import Comparisons
from trueline.models.tokens import batches
from trueline.models.trunk import Trunk

__all__ = ["Choice", "accuracy", "classifier", "grpo_trainer", "reward_trainer"]


@dataclass(frozen=True)
class Choice:
    """How TRL is set."""

    lora: bool = True
    beta: float = 0.04
    bf16: bool = False
    micro: int = 8
    """Rows of a forward and backward pass; the batch is made of as many as it takes."""
    cache: str | None = None
    """Cache of its generation; None = transformers' own choice."""
    exported: bool = False
    """Whether the reward is our head as exported, instead of a plain classifier."""
    fit_micro: int = 8
    """Pairs of a step of RewardTrainer."""


class Marks(TrainerCallback):
    """Marks the ends of steps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.mark()


def classifier(folder: Path) -> tuple[Any, Any]:
    """A reward model with one score, and its tokenizer."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, trust_remote_code=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def grpo_trainer(
    setting: Setting, folder: Path, choice: Choice, clock: Clock, num_steps: int, reward: Any
) -> GRPOTrainer:
    """A GRPOTrainer of so many steps; `reward` is a classifier with its tokenizer."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=_number(clock.device))
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    if tokenizer.eos_token is None:
        # TRL asks for an end token; one that the model does not know is never said.
        tokenizer.add_special_tokens({"eos_token": "<never>"})
    asked = [[{"role": "user", "content": p.text}] for p in setting.prompts(num_steps)]
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward[0].to(_number(clock.device)),
        reward_processing_classes=reward[1],
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": asked}),
        peft_config=_adapter("CAUSAL_LM") if choice.lora else None,
        callbacks=[Marks(clock)],
        args=GRPOConfig(
            per_device_train_batch_size=choice.micro,
            gradient_accumulation_steps=setting.rows // choice.micro,
            num_generations=setting.num_samples,
            max_completion_length=setting.max_new_tokens,
            max_steps=num_steps,
            beta=choice.beta,
            shuffle_dataset=False,
            cache_implementation=choice.cache,
            learning_rate=1e-4,
            **_quiet(folder, choice.bf16, clock.device),
        ),
    )
    _observe(trainer, clock)
    return trainer


def reward_trainer(folder: Path, choice: Choice, device: str) -> tuple[Any, Any, RewardTrainer]:
    """A classifier and its tokenizer, and a RewardTrainer over the pairs, one pass, at the rate
    that `benchmarks.reward_trainer` found best on another seed."""
    model, tokenizer = classifier(folder / "model")
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.pad_token
    codec = Trunk.load(folder / "model").codec
    pairs = Comparisons.load(folder / "train.jsonl.gz")
    columns = {
        f"{side}_ids": [row.ids for row in codec.encode([getattr(c, side) for c in pairs])]
        for side in ("chosen", "rejected")
    }
    trainer = RewardTrainer(
        model=model,
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        args=RewardConfig(
            per_device_train_batch_size=choice.fit_micro,
            num_train_epochs=1,
            learning_rate=3e-4,
            max_length=None,
            **_quiet(folder, choice.bf16, device),
        ),
    )
    return model, tokenizer, trainer


@torch.inference_mode()
def accuracy(model: Any, folder: Path) -> float:
    """Share of the held-out pairs that a classifier ranks right."""
    codec = Trunk.load(folder / "model").codec
    pairs, scores = Comparisons.load(folder / "test.jsonl.gz"), []
    for side in ("chosen", "rejected"):
        rows = codec.encode([getattr(c, side) for c in pairs])
        found = np.empty(len(rows))
        for group in batches([len(row.ids) for row in rows], max_tokens=2_048):
            longest = max(len(rows[i].ids) for i in group)
            ids = torch.full((len(group), longest), model.config.pad_token_id)
            for at, i in enumerate(group):
                ids[at, : len(rows[i].ids)] = torch.tensor(rows[i].ids)
            found[group] = model.eval()(input_ids=ids).logits[:, 0].float().numpy()
        scores.append(found)
    return float(np.mean(scores[0] > scores[1]))


def _adapter(task: str) -> LoraConfig:
    return LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type=task
    )


def _number(device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cuda" else torch.float32


def _quiet(folder: Path, bf16: bool, device: str) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "scratch"),
        "gradient_checkpointing": False,
        "bf16": bf16,
        "use_cpu": device == "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "max_grad_norm": 1.0,
        "seed": 0,
    }


def _observe(trainer: Any, clock: Clock) -> None:
    """Book the trainer's seconds under phases, and count its tokens."""
    said = trainer._generate

    def generate(prompts: Any) -> Any:
        result = said(prompts)
        clock.tokens += sum(map(len, result[1]))
        return result

    trainer._generate = generate
    clock.wrap(trainer, "_generate", "sampling")
    clock.wrap(trainer, "_calculate_rewards", "reward")
    clock.wrap(
        trainer,
        "_get_per_token_logps_and_entropies",
        lambda: "passes" if torch.is_grad_enabled() else "reference",
    )
