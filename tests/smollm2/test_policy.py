"""A policy on a real chat model: sampled, improved for a round by each optimiser, exported."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from trueline.data.files import write_jsonl
from trueline.loop.resume import State, certified_of
from trueline.models.adapters import BasePolicy
from trueline.plugs import export_policy
from trueline.policy import OPTIMISERS
from trueline.recipes import Recipe
from trueline.recipes.runs import make_loop, make_task
from trueline.recipes.session import Session
from trueline.runs import RunFolder

FREE = {"kl_budget": math.inf, "novelty_limit": math.inf}
TABLE: dict[str, Any] = {
    "judge": {"kind": "rule", "name": "short-sentences"},
    "budget": {
        "rounds": 1,
        "labels": 16,
        "gate_frac": 0.5,
        "alpha": 0.99,
        "prompts_per_round": 6,
        "samples_per_prompt": 2,
    },
    "evaluate": {"prompts": 2, "curve_prompts": 1, "curve_samples": 2, "oracle_samples": 1},
}


def test_greedy_tokens_are_the_likeliest_of_a_plain_pass(trunk, prompts):
    policy = BasePolicy(trunk, max_new_tokens=12)
    rolled = policy.rollouts(
        prompts[:3], num_samples=1, rng=np.random.default_rng(0), temperature=0
    )
    for row, logps in zip(rolled.rows, rolled.logps, strict=True):
        with torch.no_grad():
            logits = trunk.model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1].float()
        plain = logits.log_softmax(-1)
        said = plain.gather(1, torch.tensor(row.ids[row.start :])[:, None])[:, 0]
        # In bfloat16 two that are nearly as likely may change places.
        assert float((plain.amax(1) - said).max()) < 0.2
        np.testing.assert_allclose(logps, said.numpy(), atol=0.2)
    assert len({r.text for r in rolled.flat}) == 3


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_round_improves_it(trunk, smollm2: Path, prompts, tmp_path: Path, kind: str) -> None:
    write_jsonl(tmp_path / "asks.jsonl", ({"prompt": p.text} for p in prompts))
    adamw = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 6}
    how = {"kind": kind, "num_samples": 4}
    recipe = Recipe.of(
        {
            **TABLE,
            "model": {"path": str(smollm2), "rank": 4, "max_new_tokens": 12},
            "data": {"prompts": str(tmp_path / "asks.jsonl")},
            # Which answers end within 12 tokens depends on how a processor rounds.
            "policy": {**how, "cut": "score", "limits": FREE, "adamw": adamw},
        }
    )
    task = make_task(recipe, Session(model=str(smollm2), trunks={str(smollm2): trunk}))
    with RunFolder.resume(tmp_path / "run", {}, data_hashes=task.data_hashes) as folder:
        result = make_loop(recipe, seed=0).run(task, folder)
    (row,) = result["rounds"]
    assert row["optimiser"]["prompts_used"] > 0 and row["kl"]["value"] is not None, row
    out = tmp_path / "merged"
    found = export_policy(tmp_path / "run", trunk, out, round=1, merged=True)
    assert found["form"] == "merged"
    state = State.load(certified_of(tmp_path / "run")[0], trunk)
    asked = torch.tensor(trunk.codec.prompt_ids(prompts[:1]))
    theirs = AutoModelForCausalLM.from_pretrained(out)
    assert theirs.dtype == trunk.model.dtype
    with torch.no_grad(), state.working.merged() as ours:
        assert torch.allclose(theirs(asked).logits, ours(asked).logits, atol=0.5)
        assert not torch.equal(theirs(asked).logits, trunk.model(asked).logits)
