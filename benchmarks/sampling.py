"""Tokens per second of our sampler against Hugging Face `generate`, and how far both are from the
machine's limit.

    ratio = median over repeats of  seconds(generate) / seconds(grow),  one after the other

32 prompts x 64 new tokens at temperature 1, nobody stops, one thread: on the embedded model and on
a random Llama of 20 M parameters, plain and with a LoRA of rank 16; then 8 samples of a prompt of
512 tokens. `generate` gets its faster cache, and for the LoRA also the model with the adapter
merged beforehand. Seconds are the process's, so that a busy machine disturbs both alike; wall
seconds stand beside them. Limit: the larger of bytes of weights and cache over bandwidth and
arithmetic over the speed of a large product, both measured here. Greedy tokens and logits are
compared in the same run.

    python -m benchmarks.sampling [--repeats 5] [--out results/sampling.json]
"""

from __future__ import annotations

import argparse
import copy
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from trueline.models.decoder import Decoder
from trueline.models.decoding import Decoding, Own, Shared

from benchmarks.common import headline, write_result
from trueline.cli.common import load_trunk, set_threads
from trueline.models import growth
from trueline.models.growth import grow
from trueline.models.products import linear
from trueline.rng import stream
from trueline.stats import bootstrap
from trueline.worlds.sums import Sums

ROWS, NEW, PROMPT, SHARED_PROMPT, SAMPLES = 32, 64, 16, 512, 8
LLAMA_20M = {
    "vocab_size": 16_384,
    "hidden_size": 384,
    "intermediate_size": 1_024,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 1_024,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Job:
    """A model, prompts, and how many samples of each."""

    model: Any
    prefixes: list[list[int]]
    samples: int = 1

    @property
    def tokens(self) -> int:
        return len(self.prefixes) * self.samples * NEW

    def ours(self, temperature: float = 1.0) -> list[list[int]]:
        shape = (len(self.prefixes), self.samples, NEW)
        uniforms = np.random.default_rng(0).random(shape)
        grown = grow(
            self.model,
            self.prefixes,
            uniforms=uniforms,
            stop_ids=frozenset(),
            temperature=temperature,
        )
        return [c.ids for row in grown for c in row]

    def theirs(self, model: Any = None, *, cache: str | None = None, greedy: bool = False) -> Any:
        """`generate` on prompts padded on the left; new tokens only."""
        from transformers import GenerationConfig

        longest = max(len(ids) for ids in self.prefixes)
        padded = [[0] * (longest - len(ids)) + ids for ids in self.prefixes]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in self.prefixes]
        chosen = model or self.model
        # The model's own end tokens would be filled in otherwise.
        chosen.generation_config = GenerationConfig(
            do_sample=not greedy,
            max_new_tokens=NEW,
            pad_token_id=0,
            cache_implementation=cache,
            **({} if greedy else {"temperature": 1.0, "top_k": 0, "top_p": 1.0}),
            num_return_sequences=1 if greedy else self.samples,
        )
        said = chosen.generate(torch.tensor(padded), attention_mask=torch.tensor(mask))
        assert said.shape[1] == longest + NEW
        return said[:, longest:].repeat_interleave(self.samples if greedy else 1, 0).tolist()


def random_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**LLAMA_20M)).eval().requires_grad_(False)


def adapted(model: Any) -> Any:
    """With a LoRA of rank 16 on all linear maps, not zero; without peft's outer wrapper."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = get_peft_model(copy.deepcopy(model), config).eval()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return wrapped


def clocked(acts: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """[repeats, 2] processor and wall seconds of each act, in turn, after one round unclocked."""
    for act in acts.values():
        act()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in acts}
    for _ in range(repeats):
        for name, act in acts.items():
            processor, wall = time.process_time(), time.perf_counter()
            act()
            found[name].append((time.process_time() - processor, time.perf_counter() - wall))
    return {name: np.array(rows) for name, rows in found.items()}


def ratio(slow: np.ndarray, fast: np.ndarray) -> dict[str, Any]:
    """How many times faster: median of the ratios, their interval and range, and of wall time."""
    ratios = slow[:, 0] / fast[:, 0]
    return {
        "times": bootstrap(np.median, ratios, rng=np.random.default_rng(0)).as_dict(),
        "range": [float(ratios.min()), float(ratios.max())],
        "times_wall": float(np.median(slow[:, 1] / fast[:, 1])),
    }


def faster_cache(job: Job, model: Any = None) -> str | None:
    """The cache with which `generate` is faster here."""
    acts = {str(c): (lambda c=c: job.theirs(model, cache=c)) for c in (None, "static")}
    seconds = clocked(acts, 1)
    return None if seconds["None"][0, 0] <= seconds["static"][0, 0] else "static"


def speeds() -> dict[str, float]:
    """Bytes a second read from memory, and arithmetic a second of a large product."""
    many, x, w = torch.ones(2**26), torch.randn(512, 2_048), torch.randn(2_048, 2_048)
    with torch.inference_mode():
        read = clocked({"sum": lambda: many.sum()}, 9)["sum"][:, 0].min()
        product = clocked({"product": lambda: linear(x, w, None)}, 9)["product"][:, 0].min()
        usual = clocked({"product": lambda: x @ w.T}, 9)["product"][:, 0].min()
    flop = 2 * 512 * 2_048**2
    return {
        "bytes_per_s": many.nbytes / read,
        "flop_per_s": flop / product,
        "torch_flop_per_s": flop / usual,
    }


def limit(job: Job, seconds: float, machine: Mapping[str, float]) -> dict[str, Any]:
    """Tokens a second if only weights and cache were read, or only products made; the share of
    the lower of the two that was reached."""
    config, rows = job.model.config, len(job.prefixes) * job.samples
    width = config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    numbers = sum(p.numel() for n, p in job.model.named_parameters() if "lora" not in n)
    prompt = float(np.mean([len(ids) for ids in job.prefixes]))
    # A prompt's keys and values need to be read once for all of its samples.
    cached = 2 * width * (len(job.prefixes) * prompt + rows * NEW / 2)
    arithmetic = 2 * rows * (numbers + 2 * width * (prompt + NEW / 2))
    by_bytes = rows / (4 * (numbers + cached) / machine["bytes_per_s"])
    by_arithmetic = rows / (arithmetic / machine["flop_per_s"])
    reached = job.tokens / seconds
    return {
        "tokens_per_s": reached,
        "limit_by_bytes": by_bytes,
        "limit_by_arithmetic": by_arithmetic,
        "share_of_limit": reached / min(by_bytes, by_arithmetic),
    }


@torch.inference_mode()
def agreement(job: Job) -> dict[str, float]:
    """Greedy tokens and logits against the model's own."""
    ours, theirs = np.array(job.ours(0.0)), np.array(job.theirs(greedy=True))
    ids = torch.tensor(job.prefixes[:1])[:, :PROMPT]
    steps = Decoding(Decoder(job.model, job.tokens), Shared if job.samples > 1 else Own)
    first = [steps.start(ids.tolist(), job.samples, NEW)[0]]
    said = torch.from_numpy(ours[:1])
    after = [steps.step(said[:, i].expand(job.samples))[0] for i in range(NEW - 1)]
    whole = job.model(torch.cat([ids, said[:, :-1]], 1)).logits[0, ids.shape[1] - 1 :]
    return {
        "greedy_tokens_equal": float((ours == theirs).mean()),
        "largest_difference_of_logits": float((torch.stack(first + after) - whole).abs().max()),
    }


def compared(job: Job, rivals: Mapping[str, Any], repeats: int, machine: Any) -> dict[str, Any]:
    """Ours against `generate` on each rival's model."""
    acts: dict[str, Callable[[], Any]] = {"ours": job.ours}
    caches = {name: faster_cache(job, model) for name, model in rivals.items()}
    for name, model in rivals.items():
        acts[name] = lambda m=model, c=caches[name]: job.theirs(m, cache=c)
    seconds = clocked(acts, repeats)
    fastest = float(np.median(seconds["ours"][:, 0]))
    return {
        **limit(job, fastest, machine),
        "against": {
            name: {
                "cache": caches[name] or "dynamic",
                "tokens_per_s": job.tokens / float(np.median(seconds[name][:, 0])),
                **ratio(seconds[name], seconds["ours"]),
            }
            for name in rivals
        },
        **agreement(job),
    }


def sharing(model: Any, repeats: int, machine: Any) -> dict[str, Any]:
    """8 samples of one prompt of 512 tokens: prompt kept once, kept 8 times, and `generate`."""
    rng = np.random.default_rng(1)
    job = Job(model, rng.integers(3, 16_384, (1, SHARED_PROMPT)).tolist(), SAMPLES)
    rule = growth.shares

    def apart() -> None:
        growth.shares = lambda *_: False
        try:
            job.ours()
        finally:
            growth.shares = rule

    acts = {"ours": job.ours, "apart": apart, "generate": job.theirs}
    seconds = clocked(acts, repeats)
    return {
        **limit(job, float(np.median(seconds["ours"][:, 0])), machine),
        "against": {name: ratio(seconds[name], seconds["ours"]) for name in ("apart", "generate")},
        **agreement(job),
    }


def main() -> None:
    from transformers.utils import logging

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/sampling.json"))
    options = parser.parse_args()
    set_threads(1)
    logging.set_verbosity_error()
    machine = speeds()
    trunk, large = load_trunk(None, device="cpu"), random_llama()
    asked = trunk.codec.prompt_ids(Sums().prompts(ROWS, stream(0, "sampling")), room=NEW)
    drawn = np.random.default_rng(0).integers(3, 16_384, (ROWS, PROMPT)).tolist()
    results: dict[str, Any] = {}
    for name, model, prefixes in (("embedded", trunk.model, asked), ("20M", large, drawn)):
        network = adapted(model)
        merged = copy.deepcopy(network).merge_and_unload()
        job = Job(model, prefixes)
        results[name] = compared(job, {"generate": model}, options.repeats, machine)
        lora = Job(network.get_base_model(), prefixes)
        rivals = {"generate": lora.model, "generate, merged": merged}
        results[f"{name}, LoRA"] = compared(lora, rivals, options.repeats, machine)
    results["8 samples of 512 tokens"] = sharing(large, options.repeats, machine)
    write_result(
        options.out,
        {"results": results, "machine_speed": machine, "repeats": options.repeats},
        seeds=[0],
        headlines=headlines(results),
    )


def headlines(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    bars = {"embedded": 2.0, "20M": 1.5, "8 samples of 512 tokens": 1.0}
    lines = []
    for name, result in results.items():
        for rival, against in result["against"].items():
            bar = bars.get(name)
            what = "not sharing the prompt" if rival == "apart" else f"Hugging Face {rival}"
            lines.append(
                headline(
                    f"sampling, {name}: speed over {what} (times)",
                    against["times"],
                    bar="none" if bar is None else f">= {bar:g}" if bar > 1 else "> 1",
                    met=None if bar is None else against["times"]["value"] > bar,
                )
            )
    equal = min(result["greedy_tokens_equal"] for result in results.values())
    lines.append(
        headline("sampling: greedy tokens equal", equal, bar="all", met=equal == 1.0),
    )
    return lines


if __name__ == "__main__":
    main()
