"""Tiny models of many families: each is read, sampled and trained as a plain pass has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from tests.models.conftest import WORDS, make_chat_model
from trueline.errors import SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response

SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
MOE = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
OTHER = {**SMALL, "num_hidden_layers": 3}
STATES = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
OPT = {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32}
HYBRID = {"mamba_d_state": 8, "use_mamba_kernels": False, "attn_layer_period": 2}
CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("OPT", OPT),
    "bloom": ("Bloom", {"vocab_size": len(WORDS), "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("Mpt", {"vocab_size": len(WORDS), "d_model": 32, "n_heads": 4, "n_layers": 2}),
    "falcon": ("Falcon", {**SMALL, "alibi": True}),
    "windows": ("Mistral", {**GROUPED, "sliding_window": 6}),
    "soft caps": ("Gemma2", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "two branches": ("Cohere", GROUPED),
    "hybrid": ("Jamba", {**GROUPED, **HYBRID, "num_experts": 2, "attn_layer_offset": 1}),
    "experts": ("Mixtral", {**GROUPED, "num_local_experts": 4, "sliding_window": None}),
    "shared expert": ("Qwen2Moe", {**MOE, "shared_expert_intermediate_size": 16}),
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SMALL),
    "roberta": ("Roberta", {**SMALL, "pad_token_id": 1}),
    "deberta": ("DebertaV2", {**SMALL, "relative_attention": True, "pos_att_type": ["p2c"]}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two widths": ("OPT", {**OPT, "word_embed_proj_dim": 16}, "read alike"),
    "other layers": ("ConvBert", {**OTHER, "embedding_size": 32}, "read alike"),
    "shared blocks": ("Albert", {**OTHER, "embedding_size": 16}, "blocks in one list"),
}
PROMPTS = [Prompt.of("a b c 1 2 3 d e f g h"), Prompt.of("7"), Prompt.of("+ 5 a b 9 8")]


def make(folder: Path, kind: str, given: dict[str, Any]) -> Path:
    """A random model of that family, with the tokenizer of the tiny chat model."""
    config = getattr(hf, f"{kind}Config")(bos_token_id=1, eos_token_id=2, **given)
    causal = type(config) in hf.MODEL_FOR_CAUSAL_LM_MAPPING
    plain = causal and type(config) not in hf.MODEL_FOR_MASKED_LM_MAPPING
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (hf.AutoModelForCausalLM if plain else hf.AutoModel).from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    make_chat_model(folder)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", [*CAUSAL, *ENCODERS])
def test_each_layer_and_log_probability_is_that_of_a_plain_pass(name, tmp_path):
    trunk = Trunk.load(make(tmp_path, *{**CAUSAL, **ENCODERS}[name]))
    said = [Response(prompt=p, text=t) for p in PROMPTS for t in ("1 2 3", "a", "")]
    said.append(Response(prompt=PROMPTS[0], text="a b " * 60))
    readings = trunk.read(said)
    for i, row in enumerate(trunk.codec.encode(said)):
        with torch.no_grad():
            out = trunk.model(torch.tensor([row.ids]), output_hidden_states=True)
        for layer, (hidden,) in zip(readings.latents[i, :, 0], out.hidden_states, strict=True):
            np.testing.assert_allclose(layer, hidden[row.stop - 1].numpy(), atol=1e-5, rtol=1e-5)
        if not trunk.is_encoder:
            logps = out.logits[0].log_softmax(-1)[row.start - 1 : row.stop - 1]
            told = logps.gather(1, torch.tensor(row.ids[row.start :])[:, None]).sum()
            assert readings.logp[i] == pytest.approx(float(told), abs=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_is_generate_and_an_adapter_reaches_all_that_it_is_put_on(name, tmp_path):
    trunk = Trunk.load(make(tmp_path, *CAUSAL[name]))
    policy = BasePolicy(trunk, max_new_tokens=12)
    rng = np.random.default_rng(0)
    for row in policy.rollouts(PROMPTS, num_samples=2, rng=rng, temperature=0).rows:
        asked = torch.tensor([row.ids[: row.start]])
        how = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": 2}
        said = trunk.model.generate(asked, attention_mask=torch.ones_like(asked), **how)
        assert said[0].tolist() == row.ids
    rolled = policy.rollouts(PROMPTS, num_samples=3, rng=rng)
    expected = policy.logp(rolled.rows, grad=False).numpy()
    np.testing.assert_allclose([row.sum() for row in rolled.logps], expected, atol=1e-3)

    adapted = LoraPolicy.create(trunk, rank=2, rng=rng)
    adapted.logp(rolled.rows).sum().backward()
    assert all(p.grad is not None for p in adapted.trainable())
    with torch.no_grad():
        for parameter in adapted.trainable():
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    moved = adapted.logp(rolled.rows, grad=False).numpy()
    assert np.abs(moved - expected).max() > 0.05
    with adapted.merged() as network:
        for row, logp in zip(rolled.rows, moved, strict=True):
            logits = network(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            told = logits[row.start - 1 : -1].gather(1, torch.tensor(row.ids[row.start :])[:, None])
            assert float(told.sum()) == pytest.approx(logp, abs=1e-3)
    adapted.save(tmp_path / "adapter")
    again = LoraPolicy.load(trunk, tmp_path / "adapter").logp(rolled.rows, grad=False)
    np.testing.assert_allclose(again.numpy(), moved, atol=1e-5)
    experts = {n for n, p in trunk.model.named_parameters() if "experts." in n and p.dim() == 3}
    adapters = {n for n, p in adapted.adapted.named_parameters() if p.requires_grad}
    assert 2 * len(experts) == sum(".experts." in n for n in adapters)
    trunk.verify_frozen()


def test_what_gets_no_adapter_is_named_and_states_are_read(tmp_path):
    trunk = Trunk.load(make(tmp_path / "jamba", *CAUSAL["hybrid"]))
    with pytest.warns(UserWarning, match="mamba.dt_proj"):
        LoraPolicy.create(trunk, rng=np.random.default_rng(0))
    trunk = Trunk.load(make(tmp_path / "mamba", "Mamba", STATES))
    policy = BasePolicy(trunk, max_new_tokens=8)
    rolled = policy.rollouts(PROMPTS, num_samples=2, rng=np.random.default_rng(0))
    logps = policy.logp(rolled.rows, grad=False).numpy()
    np.testing.assert_allclose([row.sum() for row in rolled.logps], logps, atol=1e-3)
    with pytest.raises(SetupError, match="must take adapters"):
        LoraPolicy.create(trunk, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_wrongly_is_refused_in_one_line(name, tmp_path):
    kind, given, reason = REFUSED[name]
    with pytest.raises(SetupError, match=reason) as refusal:
        Trunk.load(make(tmp_path, kind, given))
    assert "\n" not in str(refusal.value)


def test_what_would_be_sampled_wrongly_is_refused_in_one_line(tmp_path, monkeypatch):
    trunk = Trunk.load(make(tmp_path, *CAUSAL["windows"]))
    # Pads between a prompt and its answer, which take the place of words within a window.
    monkeypatch.setattr("trueline.models.sampling.attends_plainly", lambda _: True)
    with pytest.raises(SetupError, match="with a cache and without") as refusal:
        BasePolicy(trunk)
    assert "\n" not in str(refusal.value)
    monkeypatch.undo()
    BasePolicy(trunk)
