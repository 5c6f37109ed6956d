"""The two checkpoints of the comparison with TRL, and what both arms are given: prompts, pairs.

"embedded": the trunk of worked sums; answers end when the model says so, after about 50 tokens.
"random": a Llama of 10.7 M random weights with the same vocabulary and chat template, and without
an end token: every answer is exactly as many tokens long as asked for, in both arms.

A round fits its reward on about as many comparisons as it then draws samples, as the loop's last
round does. The comparisons are the embedded model's answers, in pairs, labelled by gold.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trueline.data.comparisons import Comparisons
from trueline.models.adapters import BasePolicy
from trueline.models.trunk import Trunk
from trueline.records import Comparison, Prompt
from trueline.rng import stream
from trueline.worlds.sums import Sums, gold, trunk_path

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """One checkpoint and the sizes of its steps; everything else is in its scratch folder."""

    name: str
    num_prompts: int
    """Prompts of a step."""
    num_samples: int
    max_new_tokens: int
    num_pairs: int
    """Comparisons that a round fits its reward on."""
    num_held_out: int
    round_steps: int
    """GRPO steps of a round."""

    @property
    def rows(self) -> int:
        return self.num_prompts * self.num_samples

    def prompts(self, num_steps: int) -> list[Prompt]:
        """Prompts of so many steps."""
        return Sums().prompts(num_steps * self.num_prompts, stream(0, "trl", "prompts"), "train")

    def make(self, folder: Path, *, width: int = 384, layers: int = 6) -> Path:
        """Model and pairs, written once into an empty folder; returns it."""
        model = folder / "model"
        shutil.copytree(trunk_path(), model)
        pairs = _pairs(Trunk.load(model), self.num_pairs + self.num_held_out)
        Comparisons(tuple(pairs[: self.num_pairs])).save(folder / "train.jsonl.gz")
        Comparisons(tuple(pairs[self.num_pairs :])).save(folder / "test.jsonl.gz")
        if self.name == "random":
            _randomise(model, width=width, layers=layers)
        return folder


def _pairs(trunk: Trunk, num: int) -> list[Comparison]:
    """Two answers of the embedded model to a prompt, compared by gold."""
    rng, policy = stream(0, "trl", "pairs"), BasePolicy(trunk, max_new_tokens=80)
    found: list[Comparison] = []
    while len(found) < num:
        asked = Sums().prompts(min(400, 2 * num), rng, "train")
        for both in policy.sample(asked, num_samples=2, rng=rng):
            worse, better = sorted(both, key=gold)
            if gold(worse) < gold(better):
                found.append(Comparison(chosen=better, rejected=worse))
    return found[:num]


SETTINGS = {
    "embedded": Setting("embedded", 16, 8, 80, 750, 400, 6),
    "random": Setting("random", 4, 8, 64, 150, 100, 5),
}


def _randomise(folder: Path, *, width: int, layers: int) -> None:
    """Put random weights of another shape, and no end token, into a copy of the trunk's folder."""
    from transformers import AutoConfig, LlamaForCausalLM

    heads = width // 64
    config: Any = AutoConfig.from_pretrained(folder)
    config.update(
        {
            "hidden_size": width,
            "intermediate_size": width * 8 // 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": 64,
            "eos_token_id": None,
            "dtype": "float32",
            "initializer_range": 0.02,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("generation_config.json", "tokenizer_config.json"):
        words = json.loads((folder / name).read_text())
        words.pop("eos_token_id", None)
        words.pop("eos_token", None)
        (folder / name).write_text(json.dumps(words))
