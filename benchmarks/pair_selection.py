"""What asking about informative pairs is worth, against random pairs, on the embedded world.

    python -m benchmarks.pair_selection            (a quarter of an hour on one core)

Both arms see the same answers (four to each of 50 prompts a round, as the loop samples them) and
ask the same simulated raters for 40 labels a round; one asks about the pairs of
`informative_pairs`, the other about a random pair of random prompts. After each round the reward is
fitted on all labels and ranks held-out pairs of unequal gold. Each seed has prompts, answers,
raters' moods and pairs of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.common import Cells, Measured, Options, Row, run
from trueline.loop.pair_selection import informative_pairs
from trueline.models.adapters import BasePolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Case, Comparison, Estimate, Preference, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums, trunk_path

__all__ = ["measure", "paired"]

ROUNDS, LABELS, HELD_OUT = 3, 40, 100


def paired(differences: Sequence[float]) -> Estimate:
    """Return the mean difference with Student's 95 % interval."""
    values = np.asarray(differences)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half, len(values))


def accuracies(
    answers: Sequence[Sequence[Response]], readings: Readings, *, active: bool, seed: int
) -> list[float]:
    """Return the accuracy on held-out pairs after each round."""
    raters, reward = Raters.named("default").at(1), None
    comparisons: list[Comparison] = []
    size, row = LABELS + LABELS // 4, []
    for t in range(ROUNDS):
        asked, known = answers[t * size : (t + 1) * size], reward if active else None
        rng = stream(seed, "pairs", t)
        for case in informative_pairs(asked, readings, known, LABELS, rng=rng):
            asking = stream(seed, "ask", t, case.prompt.text)
            verdict = raters.compare(*case.responses, rng=asking)
            if verdict.preference is not Preference.UNDECIDED:
                won = case if verdict.preference is Preference.FIRST else case.mirrored
                comparisons.append(Comparison(chosen=won.first, rejected=won.second))
        reward = Bayesian().fit(readings, comparisons, rng=stream(seed, "fit", t))
        row.append(_accuracy(reward, readings, answers[-HELD_OUT:]))
    return row


def _accuracy(reward: Any, readings: Readings, held_out: Sequence[Sequence[Response]]) -> float:
    """Return the mean over prompts of the share of pairs ranked as gold ranks them."""
    world, right = Sums(), []
    for row in held_out:
        cases = [Case(first=a, second=b) for i, a in enumerate(row) for b in row[i + 1 :]]
        gaps = np.array([world.gold(c.first) - world.gold(c.second) for c in cases])
        cases = [c for c, gap in zip(cases, gaps, strict=True) if gap]
        if cases:
            rows = (readings.rows([c.responses[side].key for c in cases]) for side in (0, 1))
            margin, _ = reward.margin(readings, *rows)
            right.append(float(((margin > 0) == (gaps[gaps != 0] > 0)).mean()))
    return float(np.mean(right))


@dataclass(frozen=True, kw_only=True)
class Pairs(Options):
    """The seeds, each with prompts, answers, raters' moods and pairs of its own."""

    seeds: tuple[int, ...] = (100, 101, 102, 103, 104)


def both_arms(trunk: Trunk, seed: int) -> dict[str, list[float]]:
    """Return the accuracies of informative and of random pairs on the same answers."""
    num = ROUNDS * (LABELS + LABELS // 4) + HELD_OUT
    drawn = Sums().prompts(num + 50, stream(seed, "prompts"))
    prompts = list({p.key: p for p in drawn}.values())[:num]
    policy = BasePolicy(trunk, max_new_tokens=80)
    answers = policy.sample(prompts, num_samples=4, rng=stream(seed, "answers"))
    readings = trunk.read([r for row in answers for r in row])
    return {
        name: accuracies(answers, readings, active=name == "active", seed=seed)
        for name in ("active", "random")
    }


def measure(options: Pairs, cells: Cells) -> Measured:
    """Measure both arms on every seed."""
    trunk = Trunk.load(trunk_path())
    runs = [
        {"seed": seed, **cells.get(partial(both_arms, trunk, seed), seed=seed)}
        for seed in (options.seeds[:2] if options.quick else options.seeds)
    ]
    rows = []
    for t in range(1, ROUNDS):
        gain = paired([run["active"][t] - run["random"][t] for run in runs])
        after = f"after {LABELS * (t + 1)} labels"
        rows.append(Row.positive(f"held-out pairs ranked right {after}, less random pairs", gain))
    return Measured(rows, {"runs": runs})


if __name__ == "__main__":
    run(measure, Pairs)
