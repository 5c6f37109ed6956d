"""TRL 1.16 as the rival: its RewardTrainer and its GRPOTrainer, set as fast as we know how.

Both get the tokens that ours reads, so that nothing is cut or templated differently. Checkpointing,
logging, saving, the progress bar and worker processes are off; one gradient step a batch of fresh
samples, as ours. The adapter is LoRA of rank 16 on all linear maps, as ours; the reference is the
model without it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
)
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

from trueline.data.comparisons import Comparisons
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response

__all__ = ["classifier", "grpo_trainer", "margins", "reward_trainer", "tokens"]

QUIET: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
}


def tokenizer_of(folder: Path | str, **options: Any) -> Any:
    """Return the folder's tokenizer, with an end token, which TRL asks for."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.pad_token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def classifier(folder: Path | str, seed: int = 0) -> Any:
    """Return the folder's model as a reward model: one output, its last map drawn at random."""
    torch.manual_seed(seed)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer_of(folder).pad_token_id
    return model


def tokens(trunk: Trunk, pairs: Comparisons) -> dict[str, list[list[int]]]:
    """Return the columns that RewardTrainer learns from: exactly the tokens that ours reads."""
    return {
        f"{side}_ids": [row.ids for row in trunk.codec.encode([getattr(c, side) for c in pairs])]
        for side in ("chosen", "rejected")
    }


def reward_trainer(
    model: Any,
    folder: Path | str,
    columns: dict[str, list[list[int]]],
    scratch: Path,
    **config: Any,
) -> RewardTrainer:
    """Return a RewardTrainer of all the classifier's weights on these columns."""
    return RewardTrainer(
        model=model,
        processing_class=tokenizer_of(folder),
        train_dataset=Dataset.from_dict(columns),
        args=RewardConfig(**{**QUIET, "output_dir": str(scratch), "max_length": None} | config),
    )


@torch.inference_mode()
def margins(model: Any, trunk: Trunk, pairs: Comparisons) -> np.ndarray:
    """Return the classifier's score of each chosen response over the rejected one's, [N]."""

    def score(response: Response) -> float:
        (row,) = trunk.codec.encode([response])
        return float(model(input_ids=torch.tensor([row.ids])).logits)

    model.eval()
    return np.array([score(c.chosen) - score(c.rejected) for c in pairs])


def grpo_trainer(
    folder: Path | str,
    prompts: Sequence[Prompt],
    reward: Any,
    scratch: Path,
    callbacks: list[Any],
    **config: Any,
) -> GRPOTrainer:
    """Return a GRPOTrainer over the prompts in order; `reward` is a classifier or a function."""
    is_model = isinstance(reward, torch.nn.Module)
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=tokenizer_of(folder, padding_side="left"),
        reward_funcs=reward,
        reward_processing_classes=tokenizer_of(folder) if is_model else None,
        train_dataset=Dataset.from_dict(
            {"prompt": [[{"role": "user", "content": p.text}] for p in prompts]}
        ),
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=callbacks,
        args=GRPOConfig(**{**QUIET, "output_dir": str(scratch), "shuffle_dataset": False} | config),
    )
