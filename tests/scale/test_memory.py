"""Half the bytes, fewer activations, one cache for many: what is saved, and what it changes.

Bounds of bfloat16 are on the shipped model, whose answers are a few dozen tokens of a sum.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.models.conftest import make_chat_model
from tests.scale.job import PROMPTS
from trueline.models import trunk as trunks
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


LONG = """
import resource, sys
import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM
from tests.models.conftest import SMALL
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response

config = LlamaConfig(**{**SMALL, "vocab_size": 49_152, "max_position_embeddings": 20_000})
tokenizer = Trunk.load(sys.argv[1]).codec.tokenizer
tokenizer.model_max_length = 20_000
trunk = Trunk(LlamaForCausalLM(config), tokenizer, False, None, None, None)
policy = LoraPolicy.create(trunk, rank=1, rng=np.random.default_rng(0))
def read(words):
    said = Response(prompt=Prompt.of("a b"), text="1 + 2 = 3 ; d e f " * (words // 9))
    readings = trunk.read([said])
    policy.logp([said]).sum().backward()
    assert readings.surprisals[0, 4] >= words and not readings.truncated[0]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = read(90)
print(read(9_000) - before)
"""


def test_nine_thousand_words_take_neither_their_logits_nor_a_square_of_positions(tmp_path):
    """All logits would be 1.8 GB, the attention of one head 0.3 GB; with gradients more."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", LONG, str(make_chat_model(tmp_path))]
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 300_000  # kB


def test_batches_are_smaller_where_memory_is(tmp_path, monkeypatch):
    folder = make_chat_model(tmp_path)
    assert Trunk.load(folder).batch_tokens == 2_048
    monkeypatch.setattr(trunks.os, "sysconf", lambda name: 2_048)  # 4 MiB in all
    weights = sum(p.nbytes for p in Trunk.load(folder).model.parameters())
    assert Trunk.load(folder).batch_tokens == (2**21 - weights) // (20 * 32 * 4)
    assert Trunk.load(folder, batch_tokens=9_999).batch_tokens == 9_999


@pytest.mark.parametrize("able", [True, False])
def test_auto_takes_the_checkpoints_number_type_where_the_processor_has_it(
    able, tmp_path, monkeypatch
):
    folder = make_chat_model(tmp_path)
    can = {"avx512_bf16": able, "amx_int8": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    assert Trunk.load(folder, dtype="auto").dtype == "float32"
    AutoModelForCausalLM.from_pretrained(folder).bfloat16().save_pretrained(folder)
    assert Trunk.load(folder, dtype="auto").dtype == ("bfloat16" if able else "float32")
    assert Trunk.load(folder).dtype == "float32"
