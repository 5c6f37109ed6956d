"""Adapters: the trunk is the reference, and stays what it was to the last bit."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.conftest import make_chat_model
from trueline.errors import InputError, SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response


def make(trunk: Trunk, seed: int = 0) -> LoraPolicy:
    return LoraPolicy.create(trunk, rank=4, rng=np.random.default_rng(seed))


def train(policy: LoraPolicy, responses: list[Response], steps: int = 3) -> None:
    optimiser = torch.optim.AdamW(policy.trainable(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        (-policy.logp(responses).mean()).backward()
        optimiser.step()


@pytest.fixture(params=["chat", "sums", "stories"])
def speaker(request: pytest.FixtureRequest) -> Trunk:
    trunk: Trunk = request.getfixturevalue(request.param)
    return trunk


def test_a_fresh_adapter_holds_the_trunks_own_weights_and_says_the_same(
    speaker: Trunk, responses: list[Response]
) -> None:
    policy = make(speaker)
    own = {p.data_ptr() for p in speaker.model.parameters()}
    theirs = {p.data_ptr() for p in policy.adapted.parameters() if not p.requires_grad}
    assert theirs == own and not any("lora" in n for n, _ in speaker.model.named_modules())
    small = sum(p.numel() for p in policy.trainable())
    assert 0 < small < sum(p.numel() for p in speaker.model.parameters()) / 2
    base = BasePolicy(speaker)
    assert torch.equal(policy.logp(responses, grad=False), base.logp(responses, grad=False))


def test_merged_weights_say_the_same_and_leave_no_trace(
    speaker: Trunk, responses: list[Response]
) -> None:
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
    assert all(p.requires_grad and not p.is_inference() for p in policy.trainable())
    assert speaker.verify_frozen() == fingerprint


@pytest.mark.parametrize("way", ["off", "large", "failed"])
def test_what_is_not_merged_is_the_policy_still(
    chat: Trunk, responses: list[Response], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    own = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    theirs = dict(network.named_modules())
    return [
        (theirs[f"{name}.base_layer"].weight, module.weight)
        for name, module in own.items()
        if f"{name}.base_layer" in theirs
    ]


def test_training_moves_the_policy_and_nothing_else(
    speaker: Trunk, responses: list[Response]
) -> None:
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


def test_a_copy_and_a_saved_one_go_on_alone(
    chat: Trunk, responses: list[Response], tmp_path: Path
) -> None:
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


def test_adapters_of_another_trunk_are_refused(chat: Trunk, tmp_path: Path) -> None:
    make(chat).save(tmp_path / "a")
    other = Trunk.load(make_chat_model(tmp_path / "other", seed=1))
    with pytest.raises(SetupError, match="trunk it was trained on"):
        LoraPolicy.load(other, tmp_path / "a")
    with pytest.raises(SetupError, match=r"LoraPolicy\.save"):
        LoraPolicy.load(chat, tmp_path / "nowhere")


def test_randomness_is_the_generators(chat: Trunk) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = make(chat, 1), make(chat, 1), make(chat, 2)
    assert torch.equal(state, torch.get_rng_state())
    same = [torch.equal(x, y) for x, y in zip(a.trainable(), b.trainable(), strict=True)]
    other = [torch.equal(x, y) for x, y in zip(a.trainable(), c.trainable(), strict=True)]
    assert all(same) and not all(other)


def test_logps_keep_order_and_gradients(chat: Trunk, responses: list[Response]) -> None:
    policy = make(chat)
    chat.batch_tokens = 60
    small = policy.logp(responses, grad=False)
    chat.batch_tokens = 16_384
    large = policy.logp(responses)
    assert large.requires_grad and not small.requires_grad
    torch.testing.assert_close(small, large.detach(), atol=1e-4, rtol=0)
    each = torch.cat([policy.logp([r], grad=False) for r in responses])
    torch.testing.assert_close(each, small, atol=1e-4, rtol=0)
    tokens, mask = policy.token_logps(responses, grad=False)
    assert tokens.shape == mask.shape and bool((tokens[~mask] == 0).all())
    torch.testing.assert_close(tokens.sum(1), small, atol=1e-4, rtol=0)
    with torch.no_grad():
        assert not policy.logp(responses).requires_grad
    assert policy.logp([]).shape == (0,)


def test_sampling_follows_the_adapter(chat: Trunk) -> None:
    prompt = Prompt.of("a b")
    wanted = Response(prompt=prompt, text="7 + 5 = 12")
    policy = make(chat)
    train(policy, [wanted], steps=60)
    said = policy.sample([prompt], num_samples=20, rng=np.random.default_rng(0))[0]
    assert sum(r.text == wanted.text for r in said) > 10
    with policy.off():
        said = policy.sample([prompt], num_samples=20, rng=np.random.default_rng(0))[0]
    assert sum(r.text == wanted.text for r in said) == 0


def test_encoders_say_nothing(minilm: Trunk) -> None:
    with pytest.raises(InputError, match="causal"):
        make(minilm)
    with pytest.raises(InputError, match="causal"):
        BasePolicy(minilm)
