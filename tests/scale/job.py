"""One small job that any number of processes do alike: `python -m tests.scale.job MODEL OUT`.

Its numbers are those of one process, however many share it. Seven prompts and batches of three
leave shares uneven, and a read of one response leaves the second process without any.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.policy import DPO, GRPO, AdamWSettings, BestOfN
from trueline.policy.adamw import GradientSteps
from trueline.records import Prompt, Response, Scores
from trueline.rng import stream

__all__ = ["ADAMW", "PROMPTS", "Wanted", "work"]

PROMPTS = [Prompt.of(f"a b {'c ' * i}1") for i in range(7)]
ADAMW = AdamWSettings(learning_rate=1e-2, batch_size=3, micro_batch_size=1)
OPTIMISERS = {
    "best_of_n": BestOfN(num_samples=4, adamw=ADAMW),
    "dpo": DPO(num_samples=4, adamw=ADAMW),
    "grpo": GRPO(num_samples=4, adamw=AdamWSettings(batch_size=3, gradient_checkpointing=True)),
}


class Wanted:
    """Reward: how often an answer says a digit."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        mean = np.array([float(sum(word.isdigit() for word in t.split())) for t in responses])
        nothing = np.zeros_like(mean)
        return Scores(mean, nothing, mean, nothing + 1, np.ones(len(mean), bool))


def work(folder: Path, out: Path) -> dict[str, np.ndarray]:
    """Read, sample, score, improve in three ways, save, load again; everything that was seen."""
    trunk = Trunk.load(folder, batch_tokens=40, device="auto")
    policy = LoraPolicy.create(trunk, rank=2, rng=stream(0, "adapter"), max_new_tokens=8)
    said = policy.rollouts(PROMPTS, num_samples=2, rng=stream(0, "sample")).flat
    asked = trunk.read(said)
    seen: dict[str, Any] = {
        "texts": np.array([r.text for r in said]),
        "logps": np.array([r.logp for r in said]),
        "keys": np.array(asked.keys),
        "latents": asked.latents,
        "surprisals": asked.surprisals,
        "one": trunk.read(said[:1]).latents,
        "token_logps": policy.token_logps(said, grad=False)[0].numpy(),
    }
    for name, optimiser in OPTIMISERS.items():
        update = optimiser.improve(policy, PROMPTS, Wanted(), rng=stream(0, name))
        with torch.no_grad():
            seen[name] = update.policy.logp(said).numpy()
        seen[f"{name}_loss"] = np.array([v for k, v in update.stats.items() if "loss" in k])
    trunk.workers.once(lambda: update.policy.save(out / "adapter"))
    again = LoraPolicy.load(trunk, out / "adapter")
    assert np.array_equal(again.logp(said, grad=False).numpy(), seen["grpo"])
    trunk.verify_frozen()
    return seen


def trials(folder: Path, out: Path) -> dict[str, Any]:
    """What there is to see with several processes only; every process must see the same."""
    trunk = Trunk.load(folder, cache_dir=out / "cache", batch_tokens=40)
    workers = trunk.workers
    policy = LoraPolicy.create(trunk, rank=2, rng=stream(0, "adapter"), max_new_tokens=8)
    passes = [0]
    trunk.model.register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    texts = [Response(prompt=p, text=f"{i} + {i}") for p in PROMPTS for i in range(9)]
    trunk.read(texts)
    first = passes[0]
    trunk.read(texts)

    def alone() -> tuple[int, float]:
        return workers.num, float(Trunk.load(folder).read(texts[:3]).latents.sum())

    weights = list(trunk.model.parameters())
    local = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in weights)
    held = local / sum(p.numel() for p in weights)

    def fails_in_one(indices: np.ndarray) -> torch.Tensor:
        if os.environ["RANK"] == "1":
            raise ValueError(f"item {indices[0]} cannot be learned from")
        return policy.logp([texts[i] for i in indices])

    def unpicklable() -> None:
        if os.environ["RANK"] == "0":
            error = ValueError("holds a lock")
            error.lock = threading.Lock()  # type: ignore[attr-defined]
            raise error

    told = [_error(lambda: workers.once(lambda: 1 // 0))]
    if trunk.sharded:
        told += [_error(lambda: workers.once(lambda: policy.logp(texts, grad=False)))]
    else:
        steps = GradientSteps(ADAMW, policy, 1)
        told += [
            _error(lambda: workers.each(unpicklable)),
            _error(lambda: steps.step(np.arange(4), fails_in_one, 8)),
        ]
    gradient = torch.ones(2) + int(os.environ["RANK"])
    workers.add([gradient])
    return {
        "added": gradient.tolist(),
        "passes": workers.each(lambda: first),
        "passes_again": workers.each(lambda: passes[0] - first),
        "held": workers.each(lambda: held),
        "once": workers.once(alone),
        "order": workers.spread([3, 1, 2, 5, 4], lambda at: (at * 10, None))[0].tolist(),
        "told": told,
    }


def _error(act: Any) -> str:
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    np.savez(out / f"seen{os.environ['RANK']}.npz", **work(folder, out))
    (out / f"found{os.environ['RANK']}.json").write_text(json.dumps(trials(folder, out)))
