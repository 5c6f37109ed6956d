"""Packed rows are the rows, one by one; and what cannot be packed is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from tests.models.conftest import SMALL
from trueline.models import logits
from trueline.models.chat_format import Encoded
from trueline.models.forward import Batch, enable_packing, response_logps, row_batches


def rows_of(seed: int, *, prompts: int = 3, samples: int = 3) -> list[Encoded]:
    """Rows of several prompts in mixed order, one of them with an empty answer."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(prompts):
        ask = rng.integers(3, 40, rng.integers(1, 9)).tolist()
        for k in range(samples):
            said = rng.integers(3, 40, rng.integers(0 if k else 1, 12)).tolist()
            rows.append(Encoded(ask + said, len(ask), len(ask) + len(said)))
    return [rows[i] for i in rng.permutation(len(rows))]


@given(st.integers(0, 10_000), st.integers(1, 80), st.booleans())
def test_batches_hold_every_row_once_and_keep_the_limit(seed, limit, packed):
    rows = rows_of(seed)
    groups = row_batches(rows, max_tokens=limit, packed=packed)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(rows)))
    for group in groups:
        part = [rows[i] for i in group]
        prompts = {tuple(row.ids[: row.start]) for row in part}
        tokens = sum(map(len, prompts)) + sum(len(row.ids) - row.start for row in part)
        padded = len(part) * max(len(row.ids) for row in part)
        assert len(part) == 1 or (tokens if packed else padded) <= limit


def test_packed_passes_are_those_of_single_rows_and_gradients_the_padded_ones():
    model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    assert enable_packing(model)
    rows, gradients = rows_of(1), []
    weights = torch.randn(len(rows), 1, generator=torch.Generator().manual_seed(0))
    for way in (False, True):
        model.zero_grad()
        batch = Batch.of(rows, device=torch.device("cpu"), packed=way)
        packed = response_logps(model, batch)
        (packed * weights).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)
    for row, logps in zip(rows, packed, strict=True):
        logits = model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : row.stop - 1]
        alone = torch.log_softmax(logits, -1)
        said = alone.gather(1, torch.tensor(row.ids[row.start :])[:, None])[:, 0]
        torch.testing.assert_close(logps[: len(said)], said, atol=1e-4, rtol=1e-4)
        assert not logps[len(said) :].any()


def test_what_packed_would_differ_is_left_padded():
    windowed = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8)).eval()
    assert not enable_packing(windowed)
    eager = LlamaForCausalLM(LlamaConfig(**SMALL, attn_implementation="eager")).eval()
    assert not enable_packing(eager)
    other = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    other.model.layers[0].self_attn.register_forward_hook(
        lambda _, args, out: (out[0].flip(1), *out[1:])
    )
    with pytest.warns(UserWarning, match="not the same laid end to end"):
        assert not enable_packing(other)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("granite", {"logits_scaling": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("gemma2", {"final_logit_softcapping": 2.0, "head_dim": 8}),
        ("gpt_neox", {}),
        ("mixtral", {"num_local_experts": 2, "num_experts_per_tok": 1}),
    ],
)
def test_logits_in_slices_are_all_at_once_with_their_gradients(kind, more, monkeypatch):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **more)).eval()
    model.requires_grad_(False)
    first = next(model.base_model.layers[0].parameters()).requires_grad_()
    packed, found = enable_packing(model), []
    batch = Batch.of(rows_of(3), device=torch.device("cpu"), packed=packed)
    for most in (2**24, 5 * len(model.get_output_embeddings().weight)):
        monkeypatch.setattr(logits, "MOST_LOGITS", most)
        made = []
        hook = model.get_output_embeddings().register_forward_hook(
            lambda _, args, out, made=made: made.append(out.numel())
        )
        logps = response_logps(model, batch)
        (slope,) = torch.autograd.grad((logps * torch.arange(len(logps))[:, None]).sum(), first)
        with torch.inference_mode():
            torch.testing.assert_close(response_logps(model, batch), logps.detach())
        hook.remove()
        found += [logps, slope]
        assert max(made) <= most
    assert len(made) > 2
    torch.testing.assert_close(found[2:], found[:2], atol=1e-4, rtol=1e-3)
