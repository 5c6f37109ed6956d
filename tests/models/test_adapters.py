"""Adapters: the trunk is the reference, and stays what it was to the last bit."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from tests.models.conftest import make_chat_model
from trueline.errors import SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Response


def make(trunk: Trunk, seed: int = 0) -> LoraPolicy:
    return LoraPolicy.create(trunk, rank=4, rng=np.random.default_rng(seed))


def train(policy: LoraPolicy, responses: list[Response], steps: int = 3) -> None:
    optimiser = torch.optim.AdamW(policy.trainable(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        (-policy.logp(responses).mean()).backward()
        optimiser.step()


def test_a_fresh_adapter_holds_the_trunks_own_weights_and_says_the_same(speaker, responses):
    state = torch.get_rng_state()
    policy, same, other = make(speaker), make(speaker), make(speaker, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, policy.trainable(), same.trainable()))
    assert not all(map(torch.equal, policy.trainable(), other.trainable()))
    own = {p.data_ptr() for p in speaker.model.parameters()}
    theirs = {p.data_ptr() for p in policy.adapted.parameters() if not p.requires_grad}
    assert theirs == own and not any("lora" in n for n, _ in speaker.model.named_modules())
    small = sum(p.numel() for p in policy.trainable())
    assert 0 < small < sum(p.numel() for p in speaker.model.parameters()) / 2
    base = BasePolicy(speaker)
    assert torch.equal(policy.logp(responses, grad=False), base.logp(responses, grad=False))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_one_product_is_pefts_three(chat, dtype):
    def run() -> tuple[torch.Tensor, ...]:
        given = x.clone().requires_grad_()
        out = layer(given)
        out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape).to(out))
        grads = (given.grad, a.grad, b.grad)
        a.grad = b.grad = None
        return (out.detach(), *grads)

    policy, draw = make(chat), torch.Generator().manual_seed(0)
    layer: Any = next(m for m in policy.adapted.modules() if isinstance(m, LoraLayer))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.add_(0.1 * torch.randn(b.shape, generator=draw))
    layer.base_layer = copy.deepcopy(layer.base_layer).to(getattr(torch, dtype))
    x = torch.randn(2, 5, a.shape[1], generator=draw).to(getattr(torch, dtype))
    ours = run()
    del layer.forward
    close = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    for mine, theirs in zip(ours, run(), strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, atol=close * float(theirs.abs().max()), rtol=0)


def test_merged_weights_say_the_same_and_leave_no_trace(speaker, responses):
    fingerprint, policy, other = speaker.fingerprint(), make(speaker), make(speaker, 1)
    train(policy, responses)
    rows = speaker.codec.encode(responses)
    before = policy.logp(rows, grad=False)
    trunks, others = (BasePolicy(speaker).logp(rows, grad=False), other.logp(rows, grad=False))
    adapter = [p.detach().clone() for p in policy.trainable()]
    with policy.merged() as network:
        assert not any(p.data_ptr() == q.data_ptr() for p, q in _linears(network, speaker.model))
        torch.testing.assert_close(policy.logp(rows, grad=False), before, atol=1e-3, rtol=1e-4)
        assert torch.equal(BasePolicy(speaker).logp(rows, grad=False), trunks)
        assert torch.equal(other.logp(rows, grad=False), others)
    assert all(p is q for p, q in _linears(policy.network, speaker.model))
    assert torch.equal(policy.logp(rows, grad=False), before)
    assert all(map(torch.equal, adapter, policy.trainable()))
    assert speaker.verify_frozen() == fingerprint


@pytest.mark.parametrize("way", ["off", "large", "failed"])
def test_what_is_not_merged_is_the_policy_still(chat, responses, way, monkeypatch):
    policy = make(chat)
    train(policy, responses)
    if way == "large":
        monkeypatch.setattr("trueline.models.adapters._MERGE_BYTES", 0)
    moved = policy.logp(responses, grad=False)
    off = policy.off() if way == "off" else contextlib.nullcontext()
    with contextlib.suppress(KeyError), off, policy.merged() as network:
        if way == "failed":
            raise KeyError
        assert all(p is q for p, q in _linears(network, chat.model))
        assert torch.equal(policy.logp(responses, grad=False), moved) == (way == "large")
    assert torch.equal(policy.logp(responses, grad=False), moved)


def _linears(network: Any, model: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The adapted matrices of a policy beside the trunk's own."""
    own = dict(model.named_modules())
    theirs = [(n, m) for n, m in network.named_modules() if n.endswith(".base_layer")]
    return [(m.weight, own[n.removesuffix(".base_layer")].weight) for n, m in theirs]


def test_training_moves_the_policy_and_nothing_else(speaker, responses):
    before, fingerprint = speaker.read(responses), speaker.fingerprint()
    policy = make(speaker)
    reference = policy.logp(responses, grad=False)
    train(policy, responses)
    moved = policy.logp(responses, grad=False)
    assert float((moved - reference).mean()) > 0.1
    with policy.off():
        assert torch.equal(policy.logp(responses, grad=False), reference)
    np.testing.assert_allclose(speaker.read(responses).logp, reference.numpy(), atol=1e-3)
    assert torch.equal(policy.logp(responses, grad=False), moved)
    assert speaker.verify_frozen() == fingerprint
    after = speaker.read(responses)
    np.testing.assert_array_equal(after.latents, before.latents)
    np.testing.assert_array_equal(after.surprisals, before.surprisals)


def test_a_copy_and_a_saved_one_go_on_alone(chat, responses, tmp_path):
    first = make(chat)
    train(first, responses, steps=1)
    first.save(tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.bin"))
    second, loaded = first.copy(), LoraPolicy.load(chat, tmp_path / "a")
    kept = first.logp(responses, grad=False)
    for other in (second, loaded):
        assert torch.equal(other.logp(responses, grad=False), kept)
        train(other, responses, steps=1)
        assert not torch.equal(other.logp(responses, grad=False), kept)
        mine = {p.data_ptr() for p in first.trainable()}
        assert mine.isdisjoint(p.data_ptr() for p in other.trainable())
    assert torch.equal(first.logp(responses, grad=False), kept)
    assert torch.equal(second.logp(responses, grad=False), loaded.logp(responses, grad=False))


def test_adapters_of_another_trunk_are_refused(chat, tmp_path):
    make(chat).save(tmp_path / "a")
    other = Trunk.load(make_chat_model(tmp_path / "other", seed=1))
    with pytest.raises(SetupError, match="trunk it was trained on"):
        LoraPolicy.load(other, tmp_path / "a")
    with pytest.raises(SetupError, match=r"LoraPolicy\.save"):
        LoraPolicy.load(chat, tmp_path / "nowhere")


def test_logps_keep_order_and_gradients(chat, responses):
    policy = make(chat)
    chat.batch_tokens = 60
    small = policy.logp(responses, grad=False)
    chat.batch_tokens = 16_384
    large = policy.logp(responses)
    assert large.requires_grad and not small.requires_grad
    torch.testing.assert_close(small, large.detach(), atol=1e-4, rtol=0)
    tokens, mask = policy.token_logps(responses, grad=False)
    assert tokens.shape == mask.shape and bool((tokens[~mask] == 0).all())
    torch.testing.assert_close(tokens.sum(1), small, atol=1e-4, rtol=0)
    assert policy.logp([]).shape == (0,)
