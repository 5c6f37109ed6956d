"""Tokens per second of our sampler against Hugging Face `generate`.

    python -m benchmarks.sampling                     # the embedded model (4 minutes)
    python -m benchmarks.sampling --model FOLDER      # and a checkpoint, such as SmolLM2-135M

    times faster = median over repeats of  processor seconds (generate) / (ours), in turn

Many prompts of one sample each at temperature 1, and 8 samples of one long prompt, which ours reads
once. Plain, and as the loop samples: with a LoRA adapter of rank 16 on all linear maps; `generate`
gets the adapted model, and besides the model with the adapter merged beforehand. Nobody stops
early. `generate` uses the faster of its dynamic and static caches. Greedy tokens are compared in
the same run. Processor seconds, so that other work on the machine disturbs both alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Cells, Measured, Options, Row, median_ratio, run, timed
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.sampling import generate
from trueline.models.trunk import Trunk
from trueline.rng import stream
from trueline.worlds.sums import Sums, trunk_path

__all__ = ["Job", "Speeds", "measure"]


@dataclass(frozen=True, kw_only=True)
class Speeds(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0,)
    repeats: int = 5
    new_tokens: int = 64
    prompts: int = 32
    """Prompts of one sample each."""
    long_prompt: int = 512
    """Tokens of the prompt that has 8 samples."""
    model: Path | None = None
    """A Hugging Face folder to measure on besides the embedded model."""


@dataclass(frozen=True)
class Job:
    """A policy, prompts as token ids, samples of each, and new tokens of each sample."""

    policy: BasePolicy
    prompts: list[list[int]]
    samples: int
    new: int

    def ours(self, temperature: float = 1.0) -> list[list[int]]:
        """Return our samples' new tokens."""
        shape = (len(self.prompts), self.samples, self.new)
        with self.policy.merged() as network:
            grown = generate(
                network,
                self.prompts,
                uniforms=np.random.default_rng(0).random(shape),
                stop_ids=frozenset(),
                temperature=temperature,
            )
        return [sample.ids for row in grown for sample in row]

    def theirs(self, model: Any, *, cache: str | None = None, greedy: bool = False) -> Any:
        """Return the new tokens of `generate` on prompts padded on the left."""
        from transformers import GenerationConfig

        longest = max(map(len, self.prompts))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in self.prompts])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in self.prompts])
        # The model's own end tokens would be filled in otherwise.
        model.generation_config = GenerationConfig(
            do_sample=not greedy,
            max_new_tokens=self.new,
            pad_token_id=0,
            cache_implementation=cache,
            num_return_sequences=1 if greedy else self.samples,
            **({} if greedy else {"temperature": 1.0, "top_k": 0, "top_p": 1.0}),
        )
        said = model.generate(ids, attention_mask=mask)
        if said.shape[1] != longest + self.new:
            raise SystemExit(f"generate must make {self.new} tokens, got {said.shape[1] - longest}")
        return said[:, longest:].repeat_interleave(self.samples if greedy else 1, 0).tolist()


def clocked(acts: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return the processor seconds of each act, in turn, after one round unclocked."""
    for act in acts.values():
        act()
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(repeats):
        for name, act in acts.items():
            seconds[name].append(timed(act)[1]["cpu_s"])
    return seconds


def compare(job: Job, rivals: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """Return seconds of ours and of each rival model, and whether greedy tokens are equal."""
    acts: dict[str, Callable[[], Any]] = {"ours": job.ours}
    for name, model in rivals.items():
        caches = {str(c): (lambda m=model, c=c: job.theirs(m, cache=c)) for c in (None, "static")}
        tried = clocked(caches, 1)
        acts[name] = caches[min(tried, key=lambda cache: tried[cache][0])]
    seconds = clocked(acts, repeats)
    reference = next(iter(rivals.values()))
    ours, theirs = np.array(job.ours(0.0)), np.array(job.theirs(reference, greedy=True))
    tokens = len(job.prompts) * job.samples * job.new
    return {
        "seconds": seconds,
        "tokens_per_s": tokens / float(np.median(seconds["ours"])),
        "greedy_tokens_equal": float((ours == theirs).mean()),
    }


def measure_model(folder: Path, options: Speeds) -> dict[str, Any]:
    """Return the comparisons on one checkpoint: plain, with an adapter, and one long prompt."""
    trunk = Trunk.load(folder)
    prompts = Sums().prompts(options.prompts, stream(0, "sampling"))
    short = trunk.codec.prompt_ids(prompts, room=options.new_tokens)
    vocabulary = trunk.model.config.vocab_size
    length = min(options.long_prompt, trunk.codec.max_tokens - options.new_tokens)
    long = np.random.default_rng(1).integers(3, vocabulary, (1, length)).tolist()
    policy = LoraPolicy.create(trunk, rank=16, rng=stream(0, "sampling", "adapter"))
    for name, parameter in policy.adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    merged = copy.deepcopy(policy.adapted).merge_and_unload()
    plain = {"generate": trunk.model}
    adapted = {"generate": policy.adapted, "generate, merged": merged}
    jobs = {
        "one sample a prompt": (Job(BasePolicy(trunk), short, 1, options.new_tokens), plain),
        "with an adapter": (Job(policy, short, 1, options.new_tokens), adapted),
        f"8 samples of {length} tokens": (
            Job(BasePolicy(trunk), long, 8, options.new_tokens),
            plain,
        ),
    }
    return {name: compare(job, rivals, options.repeats) for name, (job, rivals) in jobs.items()}


def measure(options: Speeds, cells: Cells) -> Measured:
    """Compare on the embedded model and on the checkpoint, if one is given."""
    if options.quick:
        options = Speeds(repeats=1, new_tokens=8, prompts=2, long_prompt=16, model=options.model)
    folders = {"embedded": Path(trunk_path())}
    if options.model is not None:
        folders[options.model.name] = options.model
    rows, numbers = [], {}
    for name, folder in folders.items():
        numbers[name] = cells.get(lambda f=folder: measure_model(f, options), model=name)
        for what, result in numbers[name].items():
            seconds = result["seconds"]
            for rival in (name for name in seconds if name != "ours"):
                value = median_ratio(seconds[rival], seconds["ours"])
                rows.append(Row.least(f"{name}, {what}: times faster than {rival}", value, 1))
    equal = min(r["greedy_tokens_equal"] for found in numbers.values() for r in found.values())
    rows.append(Row("greedy tokens equal to generate's", equal, "all", equal == 1.0))
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, Speeds)
