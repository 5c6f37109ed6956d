"""GRPO's surrogate and advantages against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trueline.policy.grpo import clipped_surrogate, group_relative


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
    found = group_relative(rewards)
    spread = np.std([1.0, 2.0, 6.0], ddof=1)
    assert found[0, :3] == pytest.approx(np.array([-2.0, -1.0, 3.0]) / (spread + 1e-4))
    assert np.isnan(found[0, 3]) and np.isnan(found[2]).all() and (found[1] == 0).all()
