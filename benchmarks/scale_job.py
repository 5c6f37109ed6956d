"""What `benchmarks.scale` runs in processes of its own, on a random Llama of 20 M parameters.

    accelerate launch ... -m benchmarks.scale_job times MODEL OUT REPEATS
    python -m benchmarks.scale_job memory MODEL OUT DTYPE CHECKPOINTING

Times: the main process alone and both together in turn, in one run, so that a busy machine disturbs
both alike; a process's own processor seconds beside the clock's. Memory: a process's peak over what
it held before its first step, as the system counts it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.policy import Descent
from trueline.records import Prompt, Response
from trueline.rng import stream
from trueline.worlds.sums.language import VOCABULARY
from trueline.worlds.sums.tokens import BOS, END, PAD, build_tokenizer

__all__ = ["build_model", "responses"]


def build_model(folder: Path) -> Path:
    """A random Llama of 20 M parameters with the embedded model's words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    build_tokenizer(folder)
    return folder


def responses(num: int, num_words: int, rng: np.random.Generator) -> list[Response]:
    """Random words; every prompt has its own."""
    words = [word for word in VOCABULARY if word.isalnum()]

    def draw(count: int) -> str:
        return " ".join(rng.choice(words, count))

    return [Response(prompt=Prompt.of(draw(12)), text=draw(num_words)) for _ in range(num)]


def times(folder: Path, out: Path, repeats: int) -> None:
    """Seconds of reading, sampling and a step of an update, alone and together."""
    trunk = Trunk.load(folder, device="auto")
    workers = trunk.workers
    policy = LoraPolicy.create(trunk, rank=16, rng=stream(0, "adapter"), max_new_tokens=16)
    rows = responses(48, 40, stream(0, "rows"))
    prompts = [row.prompt for row in rows[:16]]
    walk = Descent(learning_rate=1e-4, batch_size=16).start(policy, 1_000)

    def update() -> None:
        walk.step(np.arange(16), lambda at: -policy.logp([rows[i] for i in at]))

    def sample() -> None:
        policy.sample(prompts, num_samples=4, rng=stream(0, "sample"))

    jobs = {"read": lambda: trunk.read(rows), "sample": sample, "update": update}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            row: dict[str, float] = {}
            if not trunk.sharded:
                row |= {
                    f"alone_{k}": v for k, v in workers.once(lambda job=job: clocked(job)).items()
                }
            workers.wait()
            spent = clocked(job)
            both = workers.each(lambda spent=spent: spent)
            row |= {f"together_{k}": max(one[k] for one in both) for k in spent}
            # The first turn pays for what is set up once.
            if turn:
                found[name].append(row)
    held = [getattr(p, "to_local", lambda p=p: p)() for p in trunk.model.parameters()]
    bytes_held = float(sum(p.numel() * p.element_size() for p in held))
    if workers.is_main:
        out.write_text(json.dumps({"turns": found, "trunk_bytes_held": bytes_held}))
    workers.wait()


def clocked(job: Callable[[], Any]) -> dict[str, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    job()
    return {"s": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu}


def memory(folder: Path, out: Path, dtype: str, checkpointing: bool) -> None:
    """Peak bytes of two steps of an update over what was held before them."""
    trunk = Trunk.load(folder, dtype=dtype)
    policy = LoraPolicy.create(trunk, rank=16, rng=stream(0, "adapter"))
    rows = responses(8, 200, stream(0, "long"))
    weights = sum(p.numel() * p.element_size() for p in trunk.model.parameters())
    walk = Descent(learning_rate=1e-4, checkpointing=checkpointing).start(policy, 10)
    before = _resident()
    spent = [
        clocked(lambda: walk.step(np.arange(8), lambda at: -policy.logp([rows[i] for i in at])))
        for _ in range(3)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    out.write_text(
        json.dumps(
            {
                "trunk_mb": weights / 1e6,
                "update_peak_mb": (peak - before) / 1e6,
                "step_cpu_s": min(one["cpu_s"] for one in spent),
            }
        )
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, model, target, *rest = sys.argv[1:]
    if what == "times":
        times(Path(model), Path(target), int(rest[0]))
    else:
        memory(Path(model), Path(target), rest[0], rest[1] == "on")
