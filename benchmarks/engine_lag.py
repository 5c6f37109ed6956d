"""What an engine's lagging weights cost GRPO, and what weighing its samples is worth.

    python -m benchmarks.engine_lag            (six minutes on one core)

GRPO improves the embedded model on worked sums against one fitted reward, its samples said by an
`Engine` that renews its adapter once it is more than `lag` steps old; the arms differ in how those
samples are weighted (`policy.losses`), nothing else. The engine runs in this process: it loads,
holds and lags by the class's own code, and samples a whole batch at once instead of over HTTP.
Gold and KL from the trunk are of 300 held-out prompts at the end. The learning rate, twice the
optimiser's default, was chosen of two by gold on seed 100 without lag; seeds redraw the adapter,
the prompts and the samples, not the reward. Finished cells are kept in `cells`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.common import ROOT, headline, write_result
from benchmarks.sums_verdicts import Source
from trueline import stats
from trueline.cli.common import load_trunk, set_threads
from trueline.models.adapters import LoraPolicy
from trueline.models.endpoint import Endpoint
from trueline.models.engine import Engine
from trueline.models.engine_forms import Request
from trueline.models.growth import Continuation, grow
from trueline.models.trunk import Trunk
from trueline.policy import GRPO, Descent, Limits
from trueline.policy.losses import Lag, sequence_lag, token_lag
from trueline.protocols import Scorer
from trueline.records import Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.worlds.sums import Sums, gold

__all__ = ["main"]


def unweighted(logps: torch.Tensor, sampler_logps: torch.Tensor, cap: float) -> torch.Tensor:
    """As if the policy itself had said them."""
    return torch.ones_like(logps)


Key = tuple[int, str, int]
"""Lag, weights, seed."""
WEIGHTS: dict[str, Lag] = {"none": unweighted, "token": token_lag, "sequence": sequence_lag}


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    lags: tuple[int, ...] = (8,)
    labels: int = 800
    steps: int = 20
    prompts: int = 8
    """At a step, with eight samples each."""
    learning_rate: float = 6e-3
    kept: Path | None = None
    """Folder that keeps the verdicts between calls."""
    cells: Path = ROOT / "results" / "engine_lag.cells.jsonl"
    """Finished improvements, which a second call does not make again."""
    threads: int = 1
    out: Path = ROOT / "results" / "engine_lag.json"


@dataclass(frozen=True, kw_only=True)
class Local(Engine):
    """The engine without HTTP."""

    trunk: Trunk
    held: dict[str, LoraPolicy] = field(default_factory=dict, repr=False)

    def _tell(self, path: str, table: dict[str, str], jitter: np.random.Generator) -> None:
        if path == "load_lora_adapter":
            self.held[table["lora_name"]] = LoraPolicy.load(self.trunk, table["lora_path"])
        else:
            del self.held[table["lora_name"]]

    def _ask(self, asked: list[Request], jitter: np.random.Generator) -> list[list[Continuation]]:
        shape = (len(asked), len(asked[0].seeds), asked[0].max_new_tokens)
        return grow(
            self.held[str(asked[0].name)].network,
            [one.prefix for one in asked],
            uniforms=jitter.random(shape),
            stop_ids=asked[0].stop_ids,
            temperature=asked[0].temperature,
        )


def measured(policy: LoraPolicy, said: Sequence[Response]) -> dict[str, Any]:
    """Gold and KL from the trunk, in nats a response, of the policy's own answers."""
    own = policy.logp(said, grad=False).double().cpu().numpy()
    with policy.off():
        reference = policy.logp(said, grad=False).double().cpu().numpy()
    return {"gold": float(np.mean([gold(r) for r in said])), "kl": float((own - reference).mean())}


def run(trunk: Trunk, reward: Scorer, arguments: Arguments, key: Key) -> dict[str, Any]:
    """One improvement by an engine."""
    lag, weights, seed = key
    world, room = Sums(), 80
    policy = LoraPolicy.create(trunk, rng=stream(seed, "adapter"), max_new_tokens=room)
    endpoint = Endpoint(url="http://localhost/v1", model="base")
    policy.sampler = Local(endpoint=endpoint, lag=lag, trunk=trunk)
    descent = Descent(learning_rate=arguments.learning_rate, batch_size=arguments.prompts)
    free = Limits(kl_budget=None, entropy_floor=None, novelty_limit=None)
    optimiser = GRPO(descent=descent, lag=WEIGHTS[weights], limits=free)
    prompts = world.prompts(arguments.prompts * arguments.steps, stream(seed, "prompts"), "train")
    start = time.process_time()
    policy = optimiser.improve(policy, prompts, reward, rng=stream(seed, "samples")).policy
    spent = time.process_time() - start
    policy.sampler = None
    test = world.prompts(300, stream(seed, "held out"), "eval")
    said = [row[0] for row in policy.sample(test, num_samples=1, rng=stream(seed, "said"))]
    return {"lag": lag, "weights": weights, "seed": seed, **measured(policy, said), "cpu_s": spent}


def table(found: dict[Key, dict[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Each arm's gold and KL over seeds; what lag took from them, and what weights gave back."""
    rows = []
    for lag, weights in dict.fromkeys(key[:2] for key in found):
        row: dict[str, Any] = {"lag": lag, "weights": weights}
        others = {"": None, "_less_no_lag": (0, "none"), "_less_unweighted": (lag, "none")}
        for name in ("gold", "kl"):
            for end, other in others.items():
                gaps = [
                    found[lag, weights, s][name] - (found[*other, s][name] if other else 0.0)
                    for s in seeds
                ]
                if other != (lag, weights):
                    row[name + end] = stats.mean(np.array(gaps)).as_dict()
        rows.append(row)
    return rows


def main(arguments: Arguments) -> None:
    """Fit one reward, run every arm on every seed, write the table."""
    set_threads(arguments.threads)
    trunk = load_trunk(None, device="cpu")
    pairs, read = Source(trunk, kept=arguments.kept).draw("eval", arguments.labels, 0)
    head = Conservative(head=Bayesian()).fit(read, pairs, rng=stream(0, "fit"))
    reward = head.on(trunk)
    lagging = [(lag, weights) for lag in arguments.lags for weights in WEIGHTS]
    kept = arguments.cells.read_text().splitlines() if arguments.cells.is_file() else []
    settings = {k: getattr(arguments, k) for k in ("labels", "steps", "prompts", "learning_rate")}
    made = [cell for cell in map(json.loads, kept) if cell["settings"] == settings]
    there = {(cell["lag"], cell["weights"], cell["seed"]): cell for cell in made}
    found: dict[Key, dict[str, Any]] = {}
    for key in [(*arm, seed) for seed in arguments.seeds for arm in [(0, "none"), *lagging]]:
        found[key] = there.get(key) or run(trunk, reward, arguments, key)
        if key not in there:
            with arguments.cells.open("a") as file:
                file.write(json.dumps({"settings": settings, **found[key]}) + "\n")
            print(time.strftime("%X"), json.dumps(found[key]), flush=True)
    rows = table(found, arguments.seeds)
    lines = []
    for row in rows[1:]:
        end = "_less_no_lag" if row["weights"] == "none" else "_less_unweighted"
        what = f"GRPO by an engine up to {row['lag']} steps behind, weights: {row['weights']}"
        for name in (f"gold{end}", f"kl{end}"):
            told = f"{what}; {name.replace('_', ' ')}"
            lines.append(headline(told, row[name], bar="–", met=None))
    write_result(
        arguments.out,
        {"settings": settings, "arms": rows},
        seeds=arguments.seeds,
        headlines=lines,
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
