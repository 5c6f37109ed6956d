"""Best of n under a quarter of flipped labels: does the reward's pick still improve at n = 256?

    python -m benchmarks.flipped_labels --seeds 0 1 2      (4 minutes)

1,500 pairs of the embedded model's answers are labelled by gold, and a quarter of the labels
flipped. A reward fitted on them picks the best of n other samples, n = 1 to 256, by its lower bound
and by its mean, with the unbiased estimator of `stats.best_of_n`.

    share of the oracle's gain = (gold of the pick - gold at n = 1) / (the oracle's - gold at n = 1)

Prompts of all seeds are pooled; intervals resample prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run
from benchmarks.material import embedded, labelled_pairs
from trueline import stats
from trueline.models.adapters import BasePolicy
from trueline.models.trunk import Trunk
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.worlds.sums import Sums
from trueline.worlds.sums.gold import gold

__all__ = ["Flips", "best_of_n_curves", "measure"]


@dataclass(frozen=True, kw_only=True)
class Flips(Options):
    """Options of this benchmark."""

    pairs: int = 1500
    flipped: float = 0.25
    prompts: int = 100
    samples: int = 256


def best_of_n_curves(
    trunk: Trunk, policy: BasePolicy, options: Flips, seed: int
) -> dict[str, list[list[float]]]:
    """Return the gold of each prompt at each n = 1, 2, 4, ... by how the best is picked."""
    rng = stream(seed, "flipped", "pairs")
    pairs = labelled_pairs(policy, options.pairs, rng, flipped=options.flipped)
    head = Conservative(head=Bayesian(), k=1.0)
    reward = head.fit(trunk.read(pairs.responses), pairs, rng=stream(seed, "flipped", "fit"))
    rng = stream(seed, "flipped", "evaluate")
    prompts = Sums().prompts(options.prompts, rng, split="eval")
    picks: dict[str, list[np.ndarray]] = {"lower bound": [], "mean": [], "oracle": []}
    for row in policy.sample(prompts, num_samples=options.samples, rng=rng):
        readings = trunk.read(row)
        scores = reward.score(readings.take(readings.rows([r.key for r in row])))
        picks["lower bound"].append(scores.column("lower"))
        picks["mean"].append(scores.column("mean"))
        picks["oracle"].append(np.array([gold(r) for r in row]))
    truth = np.stack(picks["oracle"])
    ns = [2**i for i in range(options.samples.bit_length()) if 2**i <= options.samples]
    return {
        name: [stats.best_of_n(np.stack(values), truth, n).tolist() for n in ns]
        for name, values in picks.items()
    }


def share_of_gain(chosen: np.ndarray, oracle: np.ndarray) -> float:
    """Return how far curves of prompts [B, len(n)] get of the oracle's way from n = 1."""
    base = oracle[:, 0].mean()
    return float((chosen[:, -1].mean() - base) / (oracle[:, -1].mean() - base))


def share_of_peak(chosen: np.ndarray) -> float:
    """Return what the largest n keeps of the mean curve's peak."""
    means = chosen.mean(0)
    return float(means[-1] / means.max())


def measure(options: Flips, cells: Cells) -> Measured:
    """Measure all seeds and pool their prompts."""
    if options.quick:
        options = Flips(seeds=options.seeds[:1], pairs=120, prompts=4, samples=8)
    trunk, policy = embedded()
    runs = [
        cells.get(lambda s=seed: best_of_n_curves(trunk, policy, options, s), seed=seed)
        for seed in options.seeds
    ]
    pooled = {name: np.concatenate([np.array(r[name]) for r in runs], 1).T for name in runs[0]}
    what = f"{options.flipped:.0%} flipped labels, best of {options.samples}"
    rows, numbers = [], {}
    for name in ("lower bound", "mean"):
        rng = stream(0, "flipped", "bootstrap")
        gain = stats.bootstrap(share_of_gain, pooled[name], pooled["oracle"], rng=rng)
        kept = stats.bootstrap(share_of_peak, pooled[name], rng=rng)
        numbers[name] = {"gain": gain.as_dict(), "kept": kept.as_dict()}
        if name == "lower bound":
            rows.append(Row.least(f"{what}: share of the oracle's gain", gain, 0.85))
            rows.append(Row.least(f"{what}: share of its own peak over n", kept, 0.95))
    curves: dict[str, Any] = {name: values.mean(0).tolist() for name, values in pooled.items()}
    return Measured(rows, {"pooled": numbers, "curves": curves})


if __name__ == "__main__":
    run(measure, Flips)
