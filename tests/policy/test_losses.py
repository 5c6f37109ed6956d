"""Losses and advantages against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trueline.policy.losses import (
    batch_length,
    clipped_surrogate,
    dpo_loss,
    group_relative,
    kl_k3,
    own_length,
    rloo,
    room_length,
    sequence_lag,
    sum_tokens,
    token_lag,
)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_dpo_loss_is_the_closed_form_and_pushes_the_right_way(smoothing):
    chosen = torch.tensor([0.3, -1.0], requires_grad=True)
    rejected = torch.tensor([-0.2, 2.0], requires_grad=True)
    loss = dpo_loss(chosen, rejected, beta=0.5, label_smoothing=smoothing)
    margin = 0.5 * np.array([0.5, -3.0])
    expected = (1 - smoothing) * np.log1p(np.exp(-margin)) + smoothing * np.log1p(np.exp(margin))
    assert np.allclose(loss.detach().numpy(), expected, atol=1e-6)
    loss.sum().backward()
    assert (chosen.grad < 0).all() and (rejected.grad > 0).all()
    slope = -0.5 * (1 / (1 + np.exp(margin)) - smoothing)
    assert np.allclose(chosen.grad.numpy(), slope, atol=1e-6)


def test_the_surrogate_s_gradient_is_the_policy_gradient_and_stops_at_the_clip():
    old = torch.log(torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]))
    logps = torch.log(torch.tensor([[0.5, 0.7, 0.3], [0.5, 0.7, 0.3]])).requires_grad_()
    advantages = torch.tensor([2.0, -2.0])
    cost = clipped_surrogate(logps, old, advantages, epsilon=0.2)
    cost.sum().backward()
    # d/dlogp of -ratio A; none where the ratio has gone too far the way the advantage points.
    wanted = [[-2.0, 0.0, -1.2], [2.0, 2.8, 0.0]]
    assert np.allclose(logps.grad.numpy(), wanted, atol=1e-6)
    assert np.allclose(cost.detach().numpy(), [[-2.0, -2.4, -1.2], [2.0, 2.8, 1.6]], atol=1e-6)


def test_k3_is_an_unbiased_estimate_of_the_kl_and_never_negative():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    each = kl_k3(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))).numpy()
    assert (each >= 0).all()
    assert (p * each).sum() == pytest.approx((p * np.log(p / q)).sum())


def test_weights_for_a_sampler_that_lags():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    own, sampler = torch.from_numpy(np.log(p))[:, None], torch.from_numpy(np.log(q))[:, None]
    value = np.array([1.0, -3.0, 7.0])
    for weigh in (token_lag, sequence_lag):
        weight = weigh(own, sampler, 99.0).numpy().ravel()
        assert (q * weight * value).sum() == pytest.approx((p * value).sum())
        assert weigh(own, sampler, 2.0).numpy().ravel() == pytest.approx([2.0, 2 / 3, 0.2])
    row = torch.tensor([[0.1, -0.3, 0.0]])
    zero = torch.zeros_like(row)
    assert torch.allclose(sequence_lag(row, zero, 9.0), torch.exp(torch.tensor(-0.2)))
    assert torch.allclose(token_lag(row, zero, 9.0), torch.exp(row))


def test_what_a_row_s_sum_is_divided_by():
    lengths = np.array([1, 4, 0])
    assert own_length(lengths, 8).tolist() == [1, 4, 1]
    assert batch_length(lengths, 8).tolist() == pytest.approx([5 / 3] * 3)
    assert room_length(lengths, 8).tolist() == [8, 8, 8]
    costs, mask = torch.ones(2, 3), torch.tensor([[True, False, False], [True, True, True]])
    assert sum_tokens(costs, mask, torch.tensor([1.0, 6.0])).tolist() == [1.0, 0.5]


def test_advantages_leave_the_unscored_out():
    nan = np.nan
    rewards = np.array([[1.0, 2.0, 6.0, nan], [5.0, 5.0, 5.0, 5.0], [3.0, nan, nan, nan]])
    alone = rloo(rewards)
    assert alone[0, :3].tolist() == pytest.approx([-3.0, -1.5, 4.5])
    grouped = group_relative(rewards)
    spread = np.std([1.0, 2.0, 6.0], ddof=1)
    assert grouped[0, :3] == pytest.approx(np.array([-2.0, -1.0, 3.0]) / (spread + 1e-4))
    for advantages in (alone, grouped):
        assert np.isnan(advantages[0, 3]) and np.isnan(advantages[2]).all()
        assert (advantages[1] == 0).all()
        shifted = (rloo if advantages is alone else group_relative)(rewards + 7.0)
        assert np.allclose(shifted, advantages, equal_nan=True)
