"""The contract of every policy optimiser, on a bandit whose reward counts a word."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from tests.policy.conftest import Blind, Constant, CountsUp
from trueline.errors import InputError
from trueline.policy import DPO, GRPO, BestOfN, Descent, Limits, Samples, dpo_loss
from trueline.policy.losses import rloo
from trueline.stats import permutation_test

FREE = Limits(kl_budget=None, entropy_floor=None, novelty_limit=None)
FAST_DESCENT = Descent(learning_rate=1e-2, epochs=4, batch_size=8)
GENTLE = Descent(learning_rate=2e-3, epochs=3, batch_size=8)
FAST = [
    BestOfN(num_samples=6, limits=FREE, descent=FAST_DESCENT),
    DPO(num_samples=6, limits=FREE, descent=FAST_DESCENT),
    GRPO(num_samples=6, limits=FREE, descent=GENTLE),
    GRPO(num_samples=6, limits=FREE, advantages=rloo, descent=GENTLE),
]
every = pytest.mark.parametrize("optimiser", FAST, ids=lambda o: type(o).__name__)


def rewards(policy: Any, prompts: Any, seed: int = 9) -> np.ndarray:
    rows = policy.sample(prompts, num_samples=8, rng=np.random.default_rng(seed))
    return np.array([r.text.split().count("up") for row in rows for r in row], dtype=float)


def distance(policy: Any, prompts: Any) -> float:
    """KL(policy || trunk) in nats, by sampling."""
    rows = policy.sample(prompts, num_samples=32, rng=np.random.default_rng(5))
    flat = [r for row in rows for r in row]
    with torch.no_grad():
        now = policy.logp(flat)
        with policy.off():
            before = policy.logp(flat)
    return float((now - before).mean())


def weights(policy: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in policy.trainable()]


@every
def test_it_improves_and_leaves_the_old_policy_alone(optimiser, policy, prompts):
    before, old = rewards(policy, prompts), weights(policy)
    update = optimiser.improve(policy, prompts, CountsUp(), rng=np.random.default_rng(1))
    after = rewards(update.policy, prompts)
    assert after.mean() > before.mean()
    assert permutation_test(after, before, rng=np.random.default_rng(2)) < 0.01
    assert all(torch.equal(a, b) for a, b in zip(old, weights(policy), strict=True))


@every
def test_the_trunk_is_unchanged(optimiser, policy, prompts):
    policy.trunk.fingerprint()
    optimiser.improve(policy, prompts, CountsUp(), rng=np.random.default_rng(1))
    policy.trunk.verify_frozen()


@every
def test_a_constant_reward_changes_nothing(optimiser, policy, prompts):
    update = optimiser.improve(policy, prompts, Constant(), rng=np.random.default_rng(1))
    assert update.policy is policy
    assert update.stats["prompts_used"] == 0


@every
def test_a_stronger_kl_weight_ends_nearer(optimiser, policy, prompts):
    weak, strong = (0.05, 5.0) if isinstance(optimiser, DPO) else (0.0, 5.0)
    extra = {"anchor": 0.0} if isinstance(optimiser, DPO) else {}
    near, far = (
        distance(
            replace(optimiser, beta=beta, **extra)
            .improve(policy, prompts, CountsUp(), rng=np.random.default_rng(1))
            .policy,
            prompts,
        )
        for beta in (strong, weak)
    )
    assert near < far


@every
def test_four_accumulated_batches_of_two_are_one_of_eight(optimiser, policy, prompts):
    whole, parts = (
        replace(optimiser, descent=replace(optimiser.descent, epochs=1, micro_batch_size=size))
        .improve(policy, prompts, CountsUp(), rng=np.random.default_rng(1))
        .policy
        for size in (None, 2)
    )
    for a, b in zip(weights(whole), weights(parts), strict=True):
        assert torch.allclose(a, b, atol=2e-4)


@every
def test_the_same_stream_gives_the_same_policy(optimiser, policy, prompts):
    one, two = (
        optimiser.improve(policy, prompts, CountsUp(), rng=np.random.default_rng(1)).policy
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))


def test_an_unscored_sample_is_never_chosen(policy, prompts):
    samples = Samples.draw(policy, prompts, Blind(), num_samples=8, rng=np.random.default_rng(3))
    assert 0 < samples.unscored_frac < 1
    for b in samples.informative():
        for row in (samples.best(b), samples.worst(b)):
            assert "down" not in samples.rollouts.flat[row].text.split()


def test_the_dpo_loss_is_the_closed_form_and_pushes_the_right_way():
    chosen = torch.tensor([0.3, -1.0], requires_grad=True)
    rejected = torch.tensor([-0.2, 2.0], requires_grad=True)
    loss = dpo_loss(chosen, rejected, beta=0.5)
    expected = np.log1p(np.exp(-0.5 * np.array([0.5, -3.0])))
    assert np.allclose(loss.detach().numpy(), expected, atol=1e-6)
    loss.sum().backward()
    assert (chosen.grad < 0).all() and (rejected.grad > 0).all()


def test_descent_warms_up_and_decays_and_refuses_nothing_to_do():
    from trueline.policy.descent import _schedule

    steps = [_schedule(i, 40) for i in range(40)]
    assert steps[0] == 0.25 and max(steps) == 1.0 and steps[3] == 1.0
    assert steps[-1] == pytest.approx(1 / 37)
    assert all(a > b for a, b in pairwise(steps[4:]))
    with pytest.raises(InputError):
        Descent(learning_rate=1e-3, epochs=0)
