"""Critiques as a curve: planted flaws named against flaws invented, as more is said.

    python -m benchmarks.oversight_inclusion            (seven minutes on one core)

Twelve reviews an answer at temperature 1, by the trunk and by the trained critic, on chains of 8
and 10 steps and in the told style (the trunk's corpus has chains of 8 but not of 10, and of the
told style 1 and 2 steps), one wrong step planted in one of two answers. The sweep over the price of
a flaw (2407.00215), a threshold on the share of reviews that name a flaw, the best of twelve by
consensus, one review, and the greedy one. Grids were set beforehand; nothing is tuned. Beside it,
whether words and length tell spoiled GSM8K solutions from clean ones, as no planted flaw should.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, shared, write_result
from benchmarks.oversight_assisted import draw, surface_auc
from trueline.audits.inclusion import Curve, area_difference, sweep
from trueline.cli.common import set_threads
from trueline.data.files import read_records
from trueline.data.planted_flaws import ArithmeticFlaws, PlantedCase, plant_flaws
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.trunk import Trunk
from trueline.records import Critique, Prompt, Response
from trueline.rng import stream
from trueline.worlds.sums import trunk_path
from trueline.worlds.sums.trained_critic import ModelCritic, critic_path

__all__ = ["main"]

SPLITS = {"8 steps": "longer_8", "10 steps": "longer_10", "told style": "new_style"}
MODIFIERS = tuple(float(m) for m in (-8, -4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 8))
SHARES = (0.95, 0.85, 0.75, 0.65, 0.5, 0.35, 0.25, 0.15, 0.05)
SAMPLES = 12


def reviews(
    policy: Any, responses: Sequence[Response], num: int, rng: np.random.Generator
) -> dict[str, list[Critique]]:
    """`num` sampled reviews of each response; greedy where it is none."""
    critic = ModelCritic(policy, sampled=num > 0)
    count = max(num, 1)
    said = critic.critique([r for r in responses for _ in range(count)], rng=rng)
    return {r.key: said[i * count : (i + 1) * count] for i, r in enumerate(responses)}


def by_share(planted: Sequence[PlantedCase], samples: dict[str, list[Critique]]) -> Curve:
    """What is named by a share of the samples, for every threshold; joined into one curve."""
    columns = []
    for share in SHARES:
        named = {key: [_agreed(said, share)] for key, said in samples.items()}
        columns.append(sweep(planted, named))
    return replace(
        columns[0],
        modifiers=SHARES,
        named=np.hstack([one.named for one in columns]),
        invented=np.hstack([one.invented for one in columns]),
        flaws=np.hstack([one.flaws for one in columns]),
    )


def _agreed(said: Sequence[Critique], share: float) -> Critique:
    counts = Counter(flaw for one in said for flaw in one.flaws or ())
    return replace(said[0], flaws=tuple(f for f, n in counts.items() if n >= share * len(said)))


def solutions() -> list[Response]:
    """GSM8K's own solutions, without the calculator's notes."""
    found = {}
    for record in read_records(shared() / "data/gsm8k_solutions/solutions.jsonl.gz"):
        prompt = Prompt.of(str(record.fields["question"]))
        text = re.sub("<<[^<>]*>>", "", str(record.fields["ground_truth"]))
        found[prompt.key] = Response(prompt=prompt, text=text)
    return list(found.values())


def measure(policy: Any, split: str, seeds: Sequence[int], num: int) -> dict[str, Any]:
    """Every way of picking among one critic's reviews."""
    planted, samples, greedy = [], dict[str, list[Critique]](), dict[str, list[Critique]]()
    for seed in seeds:
        own = draw(split, ("wrong_step",), num, seed)
        responses = [r for one in own for r in one.case.responses]
        rng = stream(seed, "sampled reviews", split)
        samples |= reviews(policy, responses, SAMPLES, rng)
        greedy |= reviews(policy, responses, 0, rng)
        planted += own
    curves = {
        "sweep": sweep(planted, samples, modifiers=MODIFIERS),
        "threshold": by_share(planted, samples),
        "best of 12": sweep(planted, samples),
        "one sample": sweep(planted, {key: said[:1] for key, said in samples.items()}),
        "greedy": sweep(planted, greedy),
    }
    rng = stream(0, "inclusion", split)
    return {
        kind: {
            "area": curve.area(rng=rng).as_dict(),
            "points": curve.points(rng=rng),
            "area_minus_greedy": area_difference(curve, curves["greedy"], rng=rng).as_dict(),
        }
        for kind, curve in curves.items()
    }


def main(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    num: int = 24,
    out: Path = ROOT / "results/oversight_inclusion.json",
) -> None:
    """`num` planted flaws a seed and length."""
    set_threads(1)
    trunk = Trunk.load(trunk_path())
    critics = {"trunk": BasePolicy(trunk), "trained": LoraPolicy.load(trunk, critic_path())}
    numbers: dict[str, Any] = {"samples": SAMPLES}
    for critic, policy in critics.items():
        for name, split in SPLITS.items():
            numbers[f"{critic}, {name}"] = measure(policy, split, seeds, num)
    numbers["gsm8k_surface_auc"] = {
        f"wrong {what}, {'' if carried else 'not '}carried on": surface_auc(
            plant_flaws(
                solutions(),
                ArithmeticFlaws(operators=float(what == "operator"), carried=float(carried)),
                rng=stream(0, "gsm8k", what, int(carried)),
            ),
            pattern=r"\d|[^\w\s]|[a-z]+",
        )
        for what in ("result", "operator")
        for carried in (False, True)
    }
    write_result(out, numbers, seeds=seeds, headlines=_headlines(numbers))


def _headlines(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        headline(
            f"{name}: area under inclusion by hallucination, {kind} - greedy",
            part[kind]["area_minus_greedy"],
            bar="",
            met=None,
        )
        for name, part in numbers.items()
        if ", " in name
        for kind in ("sweep", "threshold", "best of 12")
    ]


if __name__ == "__main__":
    tyro.cli(main)
