"""Two processes against one, parted weights, memory of an update, and the cache, on this machine.

    speed-up = median over turns of  seconds alone / seconds of the slower of two

Alone and together take turns in one launch; processor seconds stand beside the clock's, because
the cores are shared with others. What larger trunks need is arithmetic: `benchmarks.layouts`. The
two tables of docs/scale.md are written from the numbers.

    python -m benchmarks.scale [--repeats 6] [--out results/scale.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.common import ROOT, headline, write_result
from benchmarks.layouts import LLAMA_7B, LLAMA_70B, Round, costs, layouts, tables
from benchmarks.scale_job import build_model
from trueline.models.cache import ReadingCache
from trueline.rng import stream
from trueline.stats import bootstrap

LAUNCH = (
    "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no "
    "--main_process_port 0"
)


def run_times(model: Path, out: Path, repeats: int, flags: str) -> dict[str, Any]:
    """Seconds and speed-ups of one launch of two processes."""
    launcher = ["-m", "accelerate.commands.launch", flags, *LAUNCH.split()]
    _python([*launcher, "-m", "benchmarks.scale_job", "times", str(model), str(out), str(repeats)])
    found = json.loads(out.read_text())
    table: dict[str, Any] = {"trunk_mb_held": found["trunk_bytes_held"] / 1e6}
    for name, turns in found["turns"].items():
        columns = {key: np.array([turn[key] for turn in turns]) for key in turns[0]}
        table[name] = {key: float(np.median(column)) for key, column in columns.items()}
        for clock in ("s", "cpu_s"):
            if f"alone_{clock}" in columns:
                ratios = columns[f"alone_{clock}"] / columns[f"together_{clock}"]
                estimate = bootstrap(_median, ratios, rng=stream(0, "speed-up", name, clock))
                table[name][f"speed_up_{clock}"] = estimate.as_dict()
    return table


def _median(values: Any) -> float:
    return float(np.median(values))


def run_memory(model: Path, out: Path) -> dict[str, Any]:
    """An update's peak memory by number type, with activations kept and computed again."""
    table = {}
    for dtype in ("float32", "bfloat16"):
        for checkpointing in ("off", "on"):
            job = ["-m", "benchmarks.scale_job", "memory", str(model), str(out)]
            _python([*job, dtype, checkpointing])
            table[f"{dtype}, checkpointing {checkpointing}"] = json.loads(out.read_text())
    return table


def run_cache(folder: Path, num_rows: int = 100_000, per_shard: int = 50) -> dict[str, float]:
    """Rows a second into and out of a cache of many small shards, the embedded model's shape."""
    rng = stream(0, "cache")
    latents = rng.standard_normal((per_shard, 5, 2, 160)).astype(np.float32)
    columns = rng.standard_normal((per_shard, 5)).astype(np.float32)
    keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(num_rows)]
    clock, cpu = time.perf_counter(), time.process_time()
    cache = ReadingCache(folder)
    for i in range(0, num_rows, per_shard):
        cache.put(keys[i : i + per_shard], latents, columns)
    table = {"put_s": time.perf_counter() - clock, "put_cpu_s": time.process_time() - cpu}
    asked = {
        "all": keys,
        "scattered_2000": [keys[i] for i in rng.choice(num_rows, 2_000, replace=False)],
        "missing_2000": [key[::-1] for key in keys[:2_000]],
    }
    for name, wanted in asked.items():
        fresh = ReadingCache(folder)
        clock, cpu = time.perf_counter(), time.process_time()
        found = fresh.get(wanted)
        table |= {
            f"{name}_found": float(len(found)),
            f"{name}_s": time.perf_counter() - clock,
            f"{name}_cpu_s": time.process_time() - cpu,
        }
    return {"rows": float(num_rows), "shards": float(num_rows // per_shard), **table}


def arithmetic() -> dict[str, Any]:
    """The tables of docs/scale.md as numbers."""
    asked = Round()
    return {
        "round": asdict(asked),
        **{
            shape.name: {
                "shared": costs(shape, asked),
                **{
                    layout.name: {
                        "gb_held": layout.bytes_held(shape, asked) / 1e9,
                        "passes": layout.passes,
                        "pflop": layout.work(shape, asked) / 1e15,
                        "tb_gathered": layout.bytes_gathered(shape, asked) / 1e12,
                    }
                    for layout in layouts()
                },
            }
            for shape in (LLAMA_7B, LLAMA_70B)
        },
    }


def measured(result: dict[str, Any]) -> str:
    """Markdown: what was seen on this machine."""
    two, parted = result["two_processes"], result["parted_weights"]
    lines = [
        "| two processes | alone, s of processor | each of two | speed-up | by the clock "
        "| weights parted |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("read", "sample", "update"):
        row = two[name]
        ups = (row[f"speed_up_{clock}"] for clock in ("cpu_s", "s"))
        shown = (f"{up['value']:.2f} [{up['lower']:.2f}, {up['upper']:.2f}]" for up in ups)
        seconds = f"{row['alone_cpu_s']:.2f} | {row['together_cpu_s']:.2f}"
        more = parted[name]["together_cpu_s"]
        lines.append(f"| {name} | {seconds} | {' | '.join(shown)} | {more:.2f} |")
    held = f"{two['trunk_mb_held']:.0f} and {parted['trunk_mb_held']:.0f}"
    lines += [
        "",
        f"Trunk held by each process, whole and parted: {held} MB.",
        "",
        "| an update | trunk, MB | peak over it, MB | a step, s of processor |",
        "|---|---|---|---|",
    ]
    for name, row in result["memory"].items():
        columns = f"{row['trunk_mb']:.0f} | {row['update_peak_mb']:.0f} | {row['step_cpu_s']:.1f}"
        lines.append(f"| {name} | {columns} |")
    cache = result["cache"]
    looked = ", ".join(
        f"{name.replace('_', ' ')}: {cache[f'{name}_cpu_s']:.2f}"
        for name in ("all", "scattered_2000", "missing_2000")
    )
    lines += [
        "",
        f"Cache of {cache['rows']:,.0f} readings in {cache['shards']:,.0f} shards, seconds of "
        f"processor for a look-up of {looked}; written in {cache['put_cpu_s']:.1f}.",
    ]
    return "\n".join(lines)


def between(text: str, name: str, inside: str) -> str:
    """The page with what stands between the marks of that name replaced."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    head, rest = text.split(begin)
    return f"{head}{begin}{inside}{end}{rest.split(end)[1]}"


def headlines(result: dict[str, Any]) -> list[dict[str, Any]]:
    two, parted, memory = result["two_processes"], result["parted_weights"], result["memory"]
    ups = {name: two[name]["speed_up_cpu_s"]["value"] for name in ("read", "sample", "update")}
    full, again = (memory[f"float32, checkpointing {on}"] for on in ("off", "on"))
    large = result["arithmetic"]["70B"]
    return [
        headline(
            "processor seconds of one process over those of each of two: read, sample, update",
            " / ".join(f"{up:.2f}x" for up in ups.values()),
            bar="",
            met=None,
        ),
        headline(
            "trunk held by each of two processes, weights whole and parted (MB)",
            f"{two['trunk_mb_held']:.0f} and {parted['trunk_mb_held']:.0f}",
            bar="",
            met=None,
        ),
        headline(
            "an update's peak memory, activations kept and computed again (MB)",
            f"{full['update_peak_mb']:.0f} and {again['update_peak_mb']:.0f}",
            bar="less",
            met=again["update_peak_mb"] < full["update_peak_mb"],
        ),
        headline(
            "100,000 readings found in a cache of 2,000 shards (processor s)",
            round(result["cache"]["all_cpu_s"], 2),
            bar="",
            met=None,
        ),
        headline(
            "a 70B trunk's weights, gradients and optimiser: ours, GRPO, PPO (GB)",
            " / ".join(f"{large[name]['gb_held']:,.0f}" for name in ("ours", "GRPO", "PPO")),
            bar="arithmetic",
            met=None,
        ),
    ]


def _python(arguments: list[str]) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("results/scale.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        model = build_model(folder / "model")
        result = {
            "two_processes": run_times(model, folder / "times", given.repeats, "--multi_gpu"),
            "parted_weights": run_times(model, folder / "times", given.repeats, "--use_fsdp"),
            "memory": run_memory(model, folder / "memory"),
            "cache": run_cache(folder / "cache"),
            "arithmetic": arithmetic(),
        }
    write_result(given.out, result, seeds=[0], headlines=headlines(result))
    page = ROOT / "docs" / "scale.md"
    text = between(page.read_text(), "arithmetic", tables(Round()))
    page.write_text(between(text, "measured", measured(result)))


if __name__ == "__main__":
    main()
