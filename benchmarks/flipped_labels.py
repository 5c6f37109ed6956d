"""Best-of-n under a quarter of flipped labels: does the reward hold at n = 256?

    python -m benchmarks.flipped_labels --seeds 0 1 2

On the embedded world, `pairs` pairs of base samples are labelled by gold and a quarter of the
labels flipped. A reward fitted on them picks the best of n of other samples, n = 1 … 256, with the
unbiased estimator. Reported per seed and over seeds (prompts pooled, clustered by prompt): gold at
256 as a share of the oracle's gain over n = 1, and as a share of the curve's own peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import headline, write_result
from trueline import stats
from trueline.cli.common import set_threads
from trueline.data.comparisons import Comparisons
from trueline.models.adapters import BasePolicy
from trueline.models.trunk import Trunk
from trueline.records import Comparison, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.worlds.sums import Sums, trunk_path
from trueline.worlds.sums.gold import gold


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    pairs: int = 1500
    flipped: float = 0.25
    prompts: int = 100
    samples: int = 256
    k: float = 1.0
    threads: int = 1
    out: Path = Path("results/flipped_labels.json")


def labelled(policy: BasePolicy, world: Sums, arguments: Arguments, seed: int) -> Comparisons:
    """Pairs of base samples of unequal gold, the better one chosen but for the flips."""
    rng = stream(seed, "flipped", "pairs")
    rows: list[Comparison] = []
    while len(rows) < arguments.pairs:
        prompts = world.prompts(arguments.pairs, rng)
        for first, second in policy.sample(prompts, num_samples=2, rng=rng):
            gap = gold(first) - gold(second)
            if gap == 0 or len(rows) == arguments.pairs:
                continue
            better = (gap > 0) != (rng.random() < arguments.flipped)
            chosen, rejected = (first, second) if better else (second, first)
            rows.append(Comparison(chosen=chosen, rejected=rejected, rater="gold, flipped"))
    return Comparisons(tuple(rows))


def one_seed(trunk: Trunk, arguments: Arguments, seed: int) -> dict[str, Any]:
    """Gold per prompt [B] at each n for the plain and the conservative reward and the oracle."""
    world, policy = Sums(), BasePolicy(trunk, max_new_tokens=80)
    pairs = labelled(policy, world, arguments, seed)
    head = Conservative(head=Bayesian(), k=arguments.k)
    reward = head.fit(trunk.read(pairs.responses), pairs, rng=stream(seed, "flipped", "fit"))
    rng = stream(seed, "flipped", "evaluate")
    prompts = world.prompts(arguments.prompts, rng, split="eval")
    rows = policy.sample(prompts, num_samples=arguments.samples, rng=rng)
    columns: dict[str, list[np.ndarray]] = {"plain": [], "conservative": [], "oracle": []}
    for row in rows:
        columns["oracle"].append(np.array([gold(r) for r in row]))
        scores = scored(trunk, reward, row)
        columns["plain"].append(scores.column("mean"))
        columns["conservative"].append(scores.column("lower"))
    truth = np.stack(columns["oracle"])
    ns = [2**i for i in range(arguments.samples.bit_length()) if 2**i <= arguments.samples]
    curves = {
        name: np.stack([stats.best_of_n(np.stack(values), truth, n) for n in ns])
        for name, values in columns.items()
    }
    return {"n": ns, "curves": curves, "card": reward.summary()}


def scored(trunk: Trunk, reward: Any, row: list[Response]) -> Any:
    readings = trunk.read(row)
    return reward.score(readings.take(readings.rows([r.key for r in row])))


def summary(ns: list[int], curves: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Shares with bootstrap intervals over prompts; curves [len(n), B]."""

    def share(chosen: np.ndarray, oracle: np.ndarray) -> float:
        base = oracle[:, 0].mean()
        return float((chosen[:, -1].mean() - base) / (oracle[:, -1].mean() - base))

    def kept(chosen: np.ndarray) -> float:
        means = chosen.mean(0)
        return float(means[-1] / means.max())

    found: dict[str, Any] = {"n": ns}
    for name, curve in curves.items():
        rng = stream(seed, "flipped", "bootstrap")
        found[name] = [stats.mean(values).as_dict() for values in curve]
        rows = curve.T, curves["oracle"].T
        found[f"{name}_share_of_oracle_gain"] = stats.bootstrap(share, *rows, rng=rng).as_dict()
        found[f"{name}_share_of_own_peak"] = stats.bootstrap(kept, rows[0], rng=rng).as_dict()
    return found


def main(arguments: Arguments) -> None:
    set_threads(arguments.threads)
    trunk = Trunk.load(trunk_path())
    runs = []
    for seed in arguments.seeds:
        run = one_seed(trunk, arguments, seed)
        runs.append(run)
        print(seed, run["card"], {k: v.mean(1).round(3).tolist() for k, v in run["curves"].items()})
    ns = runs[0]["n"]
    pooled = {
        name: np.concatenate([run["curves"][name] for run in runs], axis=1)
        for name in runs[0]["curves"]
    }
    numbers = {
        "trunk": trunk.fingerprint()[:16],
        "prompts_per_seed": arguments.prompts,
        "pairs": arguments.pairs,
        "flipped": arguments.flipped,
        "pooled": summary(ns, pooled, arguments.seeds[0]),
        "by_seed": [
            {**summary(ns, run["curves"], seed), "reward": run["card"]}
            for seed, run in zip(arguments.seeds, runs, strict=True)
        ],
    }
    gain = numbers["pooled"]["conservative_share_of_oracle_gain"]
    kept = numbers["pooled"]["conservative_share_of_own_peak"]
    name = f"{arguments.flipped:.0%} flipped labels, best-of-{arguments.samples}"
    write_result(
        arguments.out,
        numbers,
        seeds=arguments.seeds,
        headlines=[
            headline(
                f"{name}: gold's share of the oracle's gain",
                gain,
                bar="≥ 0.85",
                met=gain["value"] >= 0.85,
            ),
            headline(
                f"{name}: gold's share of its own peak over n",
                kept,
                bar="≥ 0.95",
                met=kept["value"] >= 0.95,
            ),
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
