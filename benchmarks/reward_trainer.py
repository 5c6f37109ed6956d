"""Against TRL's RewardTrainer: the same model, split, labels and tokens, all its weights trained.

    python -m benchmarks.reward_trainer                (about two hours on one thread)

Two trunks: MiniLM on hh-rlhf harmless-base (people's labels; held-out dialogues), and the embedded
model on sums (labels by gold, a tenth of them flipped; tested on other pairs as gold has them).
Ours reads the texts once and fits in closed form. Theirs fine-tunes on exactly the same tokens,
without gradient checkpointing, one pass (three up to 200 labels), at learning rates that were best
of a small grid on another seed.

    times less = its training's processor seconds / ours, with our reading of the texts or without
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run, timed
from benchmarks.material import MINILM, embedded, hh_harmless, labelled_pairs
from trueline import stats
from trueline.data.comparisons import Comparisons
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream
from trueline.worlds.sums import trunk_path

__all__ = ["Trainers", "measure", "one_cell"]

NAMES = {"hh": "hh harmless, MiniLM", "sums": "sums, embedded model"}
RATES = {"hh": 1e-4, "sums": 3e-4}
"""TRL's learning rates: the best on seed 100 of 3e-5, 1e-4 and of 1e-4, 3e-4, 1e-3."""
REFITS = 5


@dataclass(frozen=True, kw_only=True)
class Trainers(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0, 1)
    worlds: tuple[str, ...] = ("hh", "sums")
    hh_labels: tuple[int, ...] = (100, 400, 1_199)
    """Numbers of labels; the largest on the first seed alone."""
    sums_labels: tuple[int, ...] = (300, 2_000)
    max_tokens: int = 256
    """Of a dialogue; longer ones lose the left of their prompt, for both alike."""


@dataclass(frozen=True)
class Material:
    """One seed's pairs, read: the first n of `train` are the budget n."""

    folder: Path
    trunk: Trunk
    train: Comparisons
    test: Comparisons
    readings: Readings
    held_out: Readings
    encode: dict[str, float]
    """Seconds of reading all of `train`."""


@cache
def material(world: str, seed: int, max_tokens: int, num: int) -> Material:
    """Return the pairs of one seed, at most `num` to learn from, and their readings."""
    rng = stream(seed, "reward_trainer", "split")
    if world == "hh":
        folder, trunk = MINILM, Trunk.load(MINILM)
        trunk.codec.max_tokens = max_tokens
        train, test = hh_harmless().split(0.8, rng)
        train = train.take(rng.permutation(len(train))[:num])
    else:
        folder, (trunk, policy) = Path(trunk_path()), embedded()
        train = labelled_pairs(policy, num, stream(2 * seed, "flipped", "pairs"), flipped=0.1)
        test = labelled_pairs(policy, 800, stream(2 * seed + 1, "flipped", "pairs"))
    if num < 100:
        test = test.take(np.arange(num))
    readings, encode = timed(lambda: trunk.read(train))
    return Material(folder, trunk, train, test, readings, trunk.read(test), encode)


def ours(given: Material, num: int, seed: int) -> dict[str, Any]:
    """Return whether our head ranks each held-out pair right, and the median seconds of a fit."""
    rows = given.train.take(np.arange(num))
    fits = []
    for _ in range(REFITS):
        rng = stream(seed, "reward_trainer", "fit")
        fitted, spent = timed(lambda rng=rng: Bayesian().fit(given.readings, rows, rng=rng))
        fits.append(spent["cpu_s"])
    keys = given.test.chosen_keys, given.test.rejected_keys
    mean, _ = fitted.margin(given.held_out, *(given.held_out.rows(k) for k in keys))
    return {"right": _right(mean), "fit_s": float(np.median(fits))}


def theirs(given: Material, num: int, seed: int, lr: float) -> dict[str, Any]:
    """Return whether RewardTrainer's model ranks each held-out pair right, and its seconds."""
    from benchmarks import trl_rival

    rows = given.train.take(np.arange(num))
    columns, model = trl_rival.tokens(given.trunk, rows), trl_rival.classifier(given.folder, seed)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trl_rival.reward_trainer(
            model,
            given.folder,
            columns,
            Path(scratch),
            per_device_train_batch_size=8,
            num_train_epochs=3 if num <= 200 else 1,
            learning_rate=lr,
            warmup_steps=num // 80,
            seed=seed,
        )
        _, spent = timed(trainer.train)
    return {"right": _right(trl_rival.margins(model, given.trunk, given.test)), **spent}


def one_cell(get: Callable[[], Material], num: int, seed: int, lr: float) -> dict[str, Any]:
    """Return both sides of one budget on one seed."""
    given = get()
    num = min(num, len(given.train))
    return {
        "n": num,
        "ours": ours(given, num, seed),
        "theirs": theirs(given, num, seed, lr),
        "encode_s": given.encode["cpu_s"] * num / len(given.train),
        "groups": np.unique(given.test.groups, return_inverse=True)[1].tolist(),
    }


def _right(margin: np.ndarray) -> list[float]:
    return ((np.sign(margin) + 1) / 2).tolist()


def compare(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracies, their difference (paired, by prompt) and times less, over seeds."""
    right = {who: np.concatenate([c[who]["right"] for c in cells]) for who in ("ours", "theirs")}
    groups = [f"{i} {group}" for i, cell in enumerate(cells) for group in cell["groups"]]
    rng = stream(0, "reward_trainer", "intervals")
    train = np.median([c["theirs"]["cpu_s"] for c in cells])
    fit = np.median([c["ours"]["fit_s"] for c in cells])
    encode = np.median([c["encode_s"] for c in cells])
    return {
        "labels": cells[0]["n"],
        **{w: stats.accuracy(r, clusters=groups).as_dict() for w, r in right.items()},
        "ahead": stats.difference(right["ours"], right["theirs"], clusters=groups, rng=rng),
        "times_less": float(train / fit),
        "times_less_with_reading": float(train / (fit + encode)),
    }


def measure(options: Trainers, cells: Cells) -> Measured:
    """Train and fit at every budget, and compare."""
    rows, numbers = [], {}
    for world in options.worlds:
        budgets = options.hh_labels if world == "hh" else options.sums_labels
        budgets = (24,) if options.quick else budgets
        points = []
        for num in budgets:
            seeds = options.seeds if num < max(budgets) else options.seeds[:1]
            made = []
            for seed in seeds:
                asked = (world, seed, options.max_tokens, max(budgets))
                made.append(
                    cells.get(
                        lambda a=asked, n=num, s=seed, w=world: one_cell(
                            lambda: material(*a), n, s, RATES[w]
                        ),
                        world=world,
                        seed=seed,
                        num=num,
                        quick=options.quick,
                    )
                )
            points.append(compare(made))
        rows += rows_of(NAMES[world], points)
        numbers[world] = [p | {"ahead": p["ahead"].as_dict()} for p in points]
    return Measured(rows, numbers)


def rows_of(name: str, points: list[dict[str, Any]]) -> list[Row]:
    """Return what is asked at the largest budget, and accuracies at all."""
    last = points[-1]
    what = f"{name}, {last['labels']} labels: times less processor time than RewardTrainer"
    rows = [
        Row.least(f"{what}, texts read already", round(last["times_less"], 1), 50),
        Row.least(f"{what}, reading them", round(last["times_less_with_reading"], 2), 4),
    ]
    for point in points:
        ahead = point["ahead"]
        behind = ahead.upper is not None and ahead.upper < 0
        what = f"{name}, {point['labels']} labels: pairs ranked right, ours less RewardTrainer's"
        rows.append(Row(what, ahead, "not clearly below 0", not behind))
    return rows


if __name__ == "__main__":
    run(measure, Trainers)
