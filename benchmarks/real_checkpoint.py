"""A real pretrained checkpoint improved by a rule that the reward never sees as a rule.

    python -m benchmarks.real_checkpoint --seeds 0 1 2

`stories260K` (0.26 M parameters) continues the first twelve words of real children's stories. The
rater prefers the continuation with the larger share of words that speak of joy (`rule:joy`); the
reward sees verdicts only. Reported: the rule's value before and after, on stories kept for
measuring, and what the gate certified.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, shared, write_result
from trueline import stats


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    rule: str = "joy"
    rounds: int = 3
    labels: int = 900
    out: Path = Path("results/real_checkpoint.json")


def run(arguments: Arguments, seed: int, folder: Path) -> dict[str, Any]:
    data = shared() / "data"
    command = [sys.executable, "-m", "trueline", "run", "--json", "--seed", str(seed)]
    command += ["--model", str(data / "stories260K"), "--rater", f"rule:{arguments.rule}"]
    command += ["--prompts", str(data / "tinystories_val" / "stories.jsonl.gz")]
    command += ["--prompt-words", "12", "--max-new-tokens", "48", "--prompts-per-round", "128"]
    command += ["--rounds", str(arguments.rounds), "--labels", str(arguments.labels)]
    command += ["--out", str(folder / str(seed))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main(arguments: Arguments) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = [run(arguments, seed, Path(folder)) for seed in arguments.seeds]
    kept = ("gold_base", "gold_final", "gold_oracle", "certified_round", "labels_used", "wall_s")
    runs = [
        {
            "seed": seed,
            **{name: result[name] for name in kept},
            "gate": [row["gate"]["decision"] for row in result["rounds"]],
            "kl": [row["kl"]["value"] for row in result["rounds"]],
        }
        for seed, result in zip(arguments.seeds, results, strict=True)
    ]
    gains = np.array([r["gold_final"]["value"] - r["gold_base"]["value"] for r in runs])
    certified = sum(r["certified_round"] > 0 for r in runs)
    name = f"stories260K, rule:{arguments.rule}"
    write_result(
        arguments.out,
        {"runs": runs},
        seeds=arguments.seeds,
        headlines=[
            headline(
                f"{name}: runs that end with the gate's certificate",
                f"{certified} of {len(runs)}",
                bar="all",
                met=certified == len(runs),
            ),
            headline(
                f"{name}: rise of the rule's value (share of words)",
                stats.mean(gains).as_dict(),
                bar="> 0",
                met=bool(gains.min() > 0),
            ),
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
