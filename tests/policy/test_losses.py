"""Losses and advantages against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trueline.policy.losses import clipped_surrogate, dpo_loss, group_relative, rloo


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
