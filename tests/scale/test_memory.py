"""Half the bytes, fewer activations, one cache for many: what is saved, and what it changes.

Bounds of bfloat16 are on the shipped model, whose answers are a few dozen tokens of a sum.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from tests.models.conftest import make_chat_model
from tests.scale.job import PROMPTS
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Response
from trueline.rng import stream
from trueline.worlds.sums import Sums, trunk_path


def test_a_bfloat16_trunk_with_float32_adapters_agrees_within_bounds():
    full, half = (Trunk.load(trunk_path(), dtype=dtype) for dtype in ("float32", "bfloat16"))
    prompts = Sums().prompts(12, stream(0, "prompts"), "train")
    policies = [LoraPolicy.create(t, rank=4, rng=stream(0, "a")) for t in (full, half)]
    said = [r[0] for r in policies[0].sample(prompts, num_samples=1, rng=stream(0, "s"))]
    assert half.model.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in policies[1].trainable())
    exact, coarse = (p.token_logps(said, grad=False)[0] for p in policies)
    assert float((coarse - exact).abs().mean()) < 0.02
    readings = [t.read(said).latents for t in (full, half)]
    spread = np.abs(readings[1] - readings[0]).mean() / readings[0].std()
    assert spread < 0.02
    gradients = []
    for policy in policies:
        (-policy.logp(said).sum()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable()]))
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99


def test_recomputing_keeps_less_and_gives_the_same_gradients(tmp_path):
    policy = LoraPolicy.create(Trunk.load(make_chat_model(tmp_path)), rank=2, rng=stream(0, "a"))
    rows = [Response(prompt=p, text="1 + 2 = 3 ; " * 2) for p in PROMPTS]
    held, gradients = [], []
    for recompute in (False, True):
        policy.adapted.zero_grad()
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            if not isinstance(tensor, torch.nn.Parameter):
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, policy.recomputing() if recompute else contextlib.nullcontext():
            cost = policy.logp(rows).sum()
        cost.backward()
        held.append(sum(storages.values()))
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable()]))
    torch.testing.assert_close(*gradients)
    assert held[1] < held[0] / 2
