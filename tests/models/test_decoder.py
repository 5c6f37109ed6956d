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

from trueline.models import decoder as decoders
from trueline.models import growth
from trueline.models.adapters import LoraPolicy
from trueline.models.decoder import Decoder, decoder_for
from trueline.models.decoding import Decoding, Own, Shared
from trueline.models.forwards import Forwards
from trueline.models.growth import grow
from trueline.models.trunk import Trunk
from trueline.records import Prompt

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


PROMPTS = [Prompt.of(text) for text in ("a", "a b c d", "7 + 5")]
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
    for memory, num_tokens in ((Own, 1), (Shared, 10_000)):
        ours = continued(Decoding(Decoder(model, num_tokens), memory), tokens, width)
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


@torch.inference_mode()
def test_an_adapter_that_may_not_be_merged_stays_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(make("qwen2, biases"))
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    merged = Decoder(model)
    monkeypatch.setattr(decoders, "_COPY_BYTES", 0)
    thin = Decoder(model)
    hidden = [d.prefill(ids, lambda i, keys, values: None) for d in (merged, thin)]
    torch.testing.assert_close(hidden[0], hidden[1], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_an_adapter_switched_off_is_left_out() -> None:
    model = make("llama")
    network = adapted(model)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    for module in network.modules():
        if hasattr(module, "lora_A"):
            module.enable_adapters(False)
    hidden = [Decoder(m).prefill(ids, lambda i, keys, values: None) for m in (model, network)]
    assert torch.equal(*hidden)


@torch.inference_mode()
def test_bfloat16_agrees_loosely() -> None:
    model = adapted(make("qwen3, norms of queries and keys")).to(torch.bfloat16)
    assert decoder_for(model) is not None
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 61, (4, 8)))
    theirs = continued(Forwards(model), tokens, 2).float()
    for memory in (Own, Shared):
        ours = continued(Decoding(Decoder(model), memory), tokens, 2).float()
        assert float((ours - theirs).abs().mean() / theirs.abs().mean()) < 0.05


def test_shared_prompts_say_the_same() -> None:
    """Long prompts, so that the rule shares; batches of every size; rows that end."""
    model = make("llama, tied, biases, all heads")
    rng = np.random.default_rng(0)
    prefixes = [rng.integers(3, 61, n).tolist() for n in (70, 66, 80, 71)]
    uniforms = rng.random((4, 6, 16))
    assert growth.shares(6, 80)
    stops = frozenset(range(5))

    def said(rows: int) -> list[list[list[int]]]:
        grown = grow(model, prefixes, uniforms=uniforms, stop_ids=stops, max_rows=rows)
        return [[c.ids for c in row] for row in grown]

    shared = [said(rows) for rows in (512, 13, 4, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "shares", lambda *_: False)
        apart = said(512)
    assert all(words == apart for words in shared)
    assert len({len(ids) for row in apart for ids in row}) > 3


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", ["llama", "qwen3, norms of queries and keys"])
def test_greedy_is_hugging_faces_greedy(name: str, samples: int) -> None:
    model = make(name, eos_token_id=None, bos_token_id=None)
    prefixes = [[7] * 3 + [n] * 67 for n in (4, 9)]
    grown = grow(
        model,
        prefixes,
        uniforms=np.zeros((2, samples, 24)),
        stop_ids=frozenset(),
        temperature=0.0,
    )
    ids = torch.tensor(prefixes)
    mask = torch.ones_like(ids)
    whole = model.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=24, pad_token_id=0
    )
    for row, theirs in zip(grown, whole[:, 70:].tolist(), strict=True):
        assert [c.ids for c in row] == [theirs] * samples


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_other_architectures_go_through_their_own_forward(kind: str) -> None:
    model = make(kind, n_embd=48, n_layer=2, n_head=4)
    assert decoder_for(model) is None
    ids = torch.tensor([[5, 6, 7], [5, 6, 7]])
    theirs = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=10,
        eos_token_id=None,
        pad_token_id=0,
    )
    grown = grow(
        model,
        [[5, 6, 7], [8, 9]],
        uniforms=np.zeros((2, 2, 10)),
        stop_ids=frozenset(),
        temperature=0.0,
    )
    assert [c.ids for c in grown[0]] == theirs[:, 3:].tolist()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        ("llama", {"hidden_act": "gelu"}),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        ),
    ],
)
def test_what_it_does_not_have_is_not_supported(kind: str, more: dict[str, Any]) -> None:
    assert decoder_for(make(kind, **more)) is None


def test_a_model_that_disagrees_warns_once_and_goes_the_other_way() -> None:
    model = make("llama")
    model.model.layers[0].register_forward_hook(lambda module, args, out: out * 1.5)
    ask = {"uniforms": np.zeros((1, 1, 8)), "stop_ids": frozenset(), "temperature": 0.0}
    with pytest.warns(UserWarning, match="does not reproduce this llama model's logits"):
        first = grow(model, [[3, 4]], **ask)[0][0].ids
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert grow(model, [[3, 4]], **ask)[0][0].ids == first
    whole = model.generate(
        torch.tensor([[3, 4]]),
        attention_mask=torch.ones(1, 2, dtype=torch.long),
        do_sample=False,
        max_new_tokens=8,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert first == whole[0, 2:].tolist()


def test_sampling_leaves_trunk_and_adapter_as_they_were(chat: Trunk) -> None:
    chat.fingerprint()
    policy = LoraPolicy.create(chat, rank=4, rng=np.random.default_rng(0))
    before = [p.detach().clone() for p in policy.trainable()]
    policy.sample(PROMPTS, num_samples=3, rng=np.random.default_rng(1))
    chat.verify_frozen()
    assert all(map(torch.equal, before, policy.trainable()))
    assert all(p.requires_grad and not p.is_inference() for p in policy.trainable())
