"""The decoder against each model's own forward pass, merged and thin adapters, shared prompts."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from trueline.models.decoder import Decoder, decoder_for
from trueline.models.decoding import Decoding, Own, Shared
from trueline.models.forwards import Forwards

BASE = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": None,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, tied, biases, all heads": {
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
        "num_key_value_heads": 6,
    },
    "llama, llama3 rotation": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "mistral": {"sliding_window": None},
    "qwen2, biases": {"tie_word_embeddings": True},
    "qwen3, norms of queries and keys": {"head_dim": 16},
}


def make(name: str, **more: Any) -> Any:
    """A random model whose norms and biases are random too."""
    kind = name.split(",")[0]
    config = CONFIG_MAPPING[kind](**{**BASE, **FAMILIES.get(name, {}), **more})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return model.requires_grad_(False)


def adapted(model: Any) -> Any:
    """With a LoRA whose B is not zero."""
    config = LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = get_peft_model(copy.deepcopy(model), config).eval().get_base_model()
    source = torch.Generator().manual_seed(5)
    for key, parameter in network.named_parameters():
        if "lora_" in key:
            parameter.data.copy_(torch.randn(parameter.shape, generator=source) * 0.2)
    return network


PREFIXES = [[5, 9, 3], [7] * 11, [1, 2, 3, 4, 5, 6], [8, 4] * 9]


def continued(steps: Any, tokens: torch.Tensor, width: int) -> torch.Tensor:
    """Logits [step, R, V] of fed tokens [step, R]; half of the rows leave after two."""
    out = [steps.start(PREFIXES, width, 12)]
    for step, row in enumerate(tokens):
        if step == 2:
            at = torch.tensor([i for i in range(len(row)) if i % 3 != 1 and i >= width])
            steps.keep(at)
            tokens = tokens[:, at]
        out.append(steps.step(tokens[step]))
    return torch.cat([x.flatten() for x in out])


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_every_family_gives_its_own_logits(name: str, lora: bool) -> None:
    model = adapted(make(name)) if lora else make(name)
    width = 5
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 61, (8, 4 * width)))
    theirs = continued(Forwards(model), tokens, width)
    assert decoder_for(model) is not None
    for memory in (Own, Shared):
        ours = continued(Decoding(Decoder(model), memory), tokens, width)
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
