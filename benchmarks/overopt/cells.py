"""One cell of the study: tune every rival on seeds of its own, then measure all on others.

A cell is a world, a share of flipped labels (or a population of raters) and a number of
comparisons. Rivals choose every number they have, in this very cell, by gold itself: the mean
gold at the three largest n over the tuning seeds. Ours is the shipped head with its defaults and
one fixed caution for all cells; "ours, tuned" chooses the weights of std and novelty as rivals
choose theirs. All see the same draws and the same readings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.overopt.curves import curve
from benchmarks.overopt.draws import Draw, Pool, World
from benchmarks.rivals.material import Material
from benchmarks.rivals.methods import PRECISIONS, RIVALS, TOLD, Rival, Setting
from trueline.atomic import atomic_write
from trueline.records import Scores
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["DIALS", "Cell", "Plan", "forget_ours", "run_cell"]

DIALS = tuple((k, d) for k in (0.0, 1.0, 2.0, 3.0, 4.0) for d in (0.0, 0.3, 1.0, 2.0))
"""What "ours, tuned" chooses from: weights of the std and of the novelty in the bound."""


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    world: str
    noise: float | str
    """Share of labels flipped, or a population of raters."""
    size: int

    @property
    def name(self) -> str:
        noise = self.noise if isinstance(self.noise, str) else f"{self.noise:.0%}"
        return f"{self.world}, {noise}, {self.size}"


@dataclass(frozen=True)
class Plan:
    """What is the same in all cells of a world."""

    ns: tuple[int, ...]
    tune_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    told: bool = False
    """Whether rivals that are told how to weigh surprisals run besides."""
    k: float = Conservative.k
    distance: float = Conservative.distance

    @property
    def rivals(self) -> tuple[Rival, ...]:
        return RIVALS + TOLD if self.told else RIVALS


def run_cell(
    world: World, cell: Cell, plan: Plan, folder: Path, *, only_kept: bool = False
) -> dict[str, Any] | None:
    """The cell's curves, gold [seeds, pools, n] for each method; kept in `folder` once made.

    Rivals and ours are kept apart, so that a change of ours leaves rivals where they are. With
    `only_kept` a cell that is not there yet is None.
    """
    asked = json.loads(json.dumps(asdict(plan) | {"samples_of_pools": world.samples_of_pools}))
    found: dict[str, Any] = {"cell": asdict(cell), "plan": asked, "curves": {}}
    for part, make in (("rivals", _rivals), ("ours", _ours)):
        place = folder / f"{cell.world}-{cell.noise}-{cell.size}-{part}.json"
        known = json.loads(place.read_text()) if place.is_file() else {}
        if known.get("plan") != asked:
            if only_kept:
                return None
            known = json.loads(json.dumps({"plan": asked, **make(world, cell, plan)}))
            atomic_write(place, json.dumps(known))
        found["curves"] |= known.pop("curves")
        found |= known
    return found


def forget_ours(folder: Path) -> None:
    """Drop what was kept of ours, to be measured again."""
    for place in folder.glob("*-ours.json"):
        place.unlink()


def _rivals(world: World, cell: Cell, plan: Plan) -> dict[str, Any]:
    """Rivals tuned on the tuning seeds, and their curves on the others; the oracle's too."""
    chosen = _tuned(world, cell, plan)
    precisions = sorted({setting.precision for _, setting in chosen.values()})
    curves: dict[str, list[Any]] = {}
    for seed in plan.report_seeds:
        draw = world.draw("report", seed, size=cell.size, noise=cell.noise)
        pools = world.pools("report", seed)
        material = Material(draw, pools, seed, precisions)
        rewards = {r.name: r.rewards(material, chosen[r.name][1]) for r in plan.rivals}
        rewards["oracle"] = [pool.gold for pool in pools]
        for name, parts in rewards.items():
            curves.setdefault(name, []).append(_curves(parts, pools, plan.ns).tolist())
    tuned = {name: [value, asdict(setting)] for name, (value, setting) in chosen.items()}
    return {"tuned": tuned, "curves": curves}


def _tuned(world: World, cell: Cell, plan: Plan) -> dict[str, tuple[float, Setting]]:
    """Each rival's best setting, with its worth."""
    worth: dict[tuple[str, Setting], float] = {}
    for seed in plan.tune_seeds:
        draw = world.draw("tune", seed, size=cell.size, noise=cell.noise)
        pools = world.pools("tune", seed)
        material = Material(draw, pools, seed, PRECISIONS)
        for rival in plan.rivals:
            for setting in rival.settings():
                gained = _curves(rival.rewards(material, setting), pools, plan.ns[-3:]).mean()
                key = (rival.name, setting)
                worth[key] = worth.get(key, 0.0) + float(gained) / len(plan.tune_seeds)
    chosen: dict[str, tuple[float, Setting]] = {}
    for (name, setting), value in worth.items():
        if name not in chosen or value > chosen[name][0]:
            chosen[name] = (value, setting)
    return chosen


def _ours(world: World, cell: Cell, plan: Plan) -> dict[str, Any]:
    """The shipped head as it ships, without its caution, and with tuned dials."""
    dials = dict.fromkeys(DIALS, 0.0)
    for seed in plan.tune_seeds:
        draw = world.draw("tune", seed, size=cell.size, noise=cell.noise)
        pools = world.pools("tune", seed)
        reward, scores = _fitted(draw, pools, seed, plan)
        for dial in DIALS:
            bounds = [_lower(s, reward, *dial) for s in scores]
            gained = _curves(bounds, pools, plan.ns[-3:]).mean()
            dials[dial] += float(gained) / len(plan.tune_seeds)
    best = max(dials, key=lambda dial: dials[dial])
    curves: dict[str, list[Any]] = {}
    says: list[dict[str, Any]] = []
    for seed in plan.report_seeds:
        draw = world.draw("report", seed, size=cell.size, noise=cell.noise)
        pools = world.pools("report", seed)
        reward, scores = _fitted(draw, pools, seed, plan)
        rewards = {
            "ours": [s.column("lower") for s in scores],
            "ours, no caution": [s.column("mean") for s in scores],
            "ours, tuned": [_lower(s, reward, *best) for s in scores],
        }
        for name, parts in rewards.items():
            curves.setdefault(name, []).append(_curves(parts, pools, plan.ns).tolist())
        says.append({"agreement": draw.agreement, **_says(reward, scores, pools)})
    worth = {f"{k:g}, {d:g}": value for (k, d), value in dials.items()}
    return {"dials": worth, "dial": best, "curves": curves, "says": says}


def _fitted(
    draw: Draw, pools: Sequence[Pool], seed: int, plan: Plan
) -> tuple[Fitted, list[Scores]]:
    """The shipped head under the plan's caution, and what it says of the pools."""
    cautious = Conservative(k=plan.k, distance=plan.distance)
    reward = cautious.fit(draw.readings, draw.comparisons, rng=stream(seed, "overopt", "fit"))
    return reward, [reward.score(pool.readings) for pool in pools]


def _lower(scores: Scores, reward: Any, std: float, novelty: float) -> np.ndarray:
    """Return the bound of `with_lower_bound(std, novelty / std)` without scoring again."""
    beyond = np.maximum(scores.column("novelty") - 1.0, 0.0)
    doubt = std * scores.column("std") + novelty * reward.spread * beyond
    return np.asarray(scores.column("mean") - doubt)


def _curves(rewards: Sequence[np.ndarray], pools: Sequence[Pool], ns: Sequence[int]) -> np.ndarray:
    """Gold of the best of n, [pools, n]."""
    return np.array([curve(r, pool, ns) for r, pool in zip(rewards, pools, strict=True)])


def _says(reward: Fitted, scores: Sequence[Scores], pools: Sequence[Pool]) -> dict[str, Any]:
    """What ours says of its own picks (the best of all N) beside a typical sample."""
    picks = [int(np.argmax(s.column("lower"))) for s in scores]
    said: dict[str, Any] = {"gold_of_pick": [], "gold_of_base": []}
    for pick, score, pool in zip(picks, scores, pools, strict=True):
        said["gold_of_pick"].append(float(pool.gold[pick]))
        said["gold_of_base"].append(float(pool.gold[pool.where].mean()))
        for name in ("mean", "std", "lower", "novelty"):
            column = score.column(name)
            said.setdefault(f"{name}_of_pick", []).append(float(column[pick]))
            said.setdefault(f"{name}_of_base", []).append(float(column[pool.where].mean()))
    card = reward.summary()
    return said | {name: card[name] for name in ("label_noise", "evidence", "coin_evidence", "n")}
