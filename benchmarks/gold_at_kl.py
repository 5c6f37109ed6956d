"""Gold at equal labels and equal KL on worked sums: the loop against TRL's GRPO on point estimates.

    python -m benchmarks.gold_at_kl                  # hours on two busy cores; it can be resumed
    python -m benchmarks.gold_at_kl --again          # only the result, from the cells there are

Every arm (`gold_at_kl_arms`) has the same trunk, adapter, samples a prompt, prompts a step and
total of labels, of which a quarter are coin flips; ours pays its gates from them. Gold, KL from the
trunk and length are measured on held-out prompts after every round, or every eight steps, and
compared at equal KL (`gold_at_kl_curves`): from the KL of the rival's own peak, which gold alone
knows, to the largest that both reach.

Settings are chosen on a seed that is not reported, 100: a rival's learning rate by its highest gold
at any checkpoint, which flatters it, ours by gold at the end. TRL's reward model has the rate and
passes that `benchmarks.reward_trainer` chose for 300 labels of this world. Nothing was chosen by
reporting seeds. Finished cells go to `cells`; a second call makes those that are missing.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, write_result
from benchmarks.gold_at_kl_arms import ARMS, Material, Plan, Setting, run, task_of
from benchmarks.gold_at_kl_curves import Curve, ahead, ends_ahead, kept, mean_curve
from benchmarks.gold_at_kl_plot import plot
from trueline.cli.common import load_trunk, set_threads

RIVALS = ("trl-rm", "trl-plain", "trl-mean")
GRID = {
    "ours": (
        Setting(lr=3e-3),
        Setting(lr=6e-3),
        Setting(lr=4e-3, rounds=3),
        Setting(lr=2e-3, rounds=3, beta=0.2),
        Setting(lr=2e-3, rounds=4, prompts=640),
        Setting(lr=2e-3, rounds=4, prompts=640, beta=0.2),
    ),
    "trl-rm": (Setting(lr=1.5e-3), Setting(lr=3e-3)),
    "trl-mean": (Setting(lr=1.5e-3), Setting(lr=3e-3)),
    # The rate that the other linear reward was best with.
    "trl-plain": (Setting(lr=1.5e-3),),
    "lower": (Setting(lr=3e-3), Setting(lr=1.5e-3, beta=0.2)),
}
"""What is tried on the tuning seeds."""


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning_seeds: tuple[int, ...] = (100,)
    arms: tuple[str, ...] = tuple(ARMS)
    plan: Plan = field(default_factory=Plan)
    cells: Path = ROOT / "results" / "gold_at_kl.cells.jsonl"
    again: bool = False
    """Only write the result, from the cells there are."""
    plot: Path | None = None
    """Draw the curves into this SVG file."""
    threads: int = 1
    out: Path = ROOT / "results" / "gold_at_kl.json"


class Cells:
    """Finished runs, kept in a file of lines."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        kept = arguments.cells.read_text().splitlines() if arguments.cells.is_file() else []
        self.found = {self._key(**cell["asked"]): cell for cell in map(json.loads, kept)}
        self.task = None if arguments.again else task_of(_trunk(), arguments.plan)
        self.material: Material | None = None

    def get(self, arm: str, setting: Setting, seed: int) -> dict[str, Any] | None:
        """The cell; None if it is not made and nothing is to be made."""
        plan = self.arguments.plan
        asked = {"arm": arm, "seed": seed, "setting": asdict(setting), "plan": asdict(plan)}
        key = self._key(**asked)
        if key not in self.found and self.task is not None:
            start = time.process_time()
            cell = {"asked": asked, **run(self._given(seed), arm, setting)}
            cell["cpu_s"] = round(time.process_time() - start, 1)
            self.found[key] = cell
            with self.arguments.cells.open("a") as file:
                file.write(json.dumps(cell) + "\n")
            curve = Curve.of(cell)
            print(time.strftime("%X"), key, curve.kl.round(2), curve.means.round(3), flush=True)
        return self.found.get(key)

    def all(self, arm: str, setting: Setting, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Of those seeds whose cell is there."""
        return [cell for seed in seeds if (cell := self.get(arm, setting, seed))]

    def _given(self, seed: int) -> Material:
        """Kept until another seed is asked for."""
        if self.material is None or self.material.seed != seed:
            assert self.task is not None
            self.material = Material(self.task, self.arguments.plan, seed)
        return self.material

    @staticmethod
    def _key(**asked: Any) -> str:
        return json.dumps(asked, sort_keys=True)


def _trunk() -> Any:
    return load_trunk(None, device="cpu")


def worth(arm: str, cell: dict[str, Any]) -> float:
    """What a setting is chosen by: a rival's best checkpoint, our last one."""
    means = Curve.of(cell).means
    return float(means.max() if arm in RIVALS else means[-1])


def choose(cells: Cells, arm: str, seeds: tuple[int, ...]) -> tuple[Setting, list[Any]]:
    """The best setting of an arm's grid on the tuning seeds, and what each was worth."""
    tried = []
    for setting in GRID[arm]:
        found = [worth(arm, cell) for cell in cells.all(arm, setting, seeds)]
        tried.append({"setting": asdict(setting), "worth": found})
    worths = [np.mean(row["worth"]) if row["worth"] else -np.inf for row in tried]
    return GRID[arm][int(np.argmax(worths))], tried


def against(rival: str, found: dict[str, dict[int, Curve]]) -> dict[str, Any]:
    """Both of ours against one rival, on the seeds that both have."""
    told = {}
    for arm in ("ours", "lower"):
        seeds = sorted(found[arm].keys() & found[rival].keys())
        if seeds:
            sides = [found[arm][s] for s in seeds], [found[rival][s] for s in seeds]
            told[arm] = {"seeds": seeds, **ahead(*sides)}
            told[arm]["ends_ahead"] = ends_ahead(*sides).as_dict()
    return told


def headlines(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """What is asked: ahead at every KL beyond the rival's peak, and little lost of our own."""
    lines = []
    for rival in RIVALS:
        for arm, told in numbers["against"].get(rival, {}).items():
            for kind, said in (("equal", "equal KL"), ("within", "equal KL or less")):
                rows = told[kind]
                least = min((r["ahead"] for r in rows), key=lambda r: r["value"], default=None)
                lowest = [r["ahead"]["lower"] for r in rows]
                clear = bool(lowest) and all(end is not None and end > 0 for end in lowest)
                leads = np.array([row["by_seed"] for row in rows])
                won = int((leads > 0).all(0).sum()) if rows else 0
                lines.append(
                    headline(
                        f"gold beyond the peak of {rival} at {said}, {arm}: least mean lead (ahead "
                        f"everywhere: {won} of {leads.shape[-1]} seeds; {len(told['seeds'])} run)",
                        least or "no seed gets there",
                        bar="interval above 0 at every KL" if arm == "ours" else "(beside it)",
                        met=clear if arm == "ours" else None,
                    )
                )
    for arm, share in numbers["kept"].items():
        lines.append(
            headline(
                f"gold at the end as a share of the run's own peak, {arm}: least of the seeds",
                round(share["least"], 4),
                bar="≥ 0.97" if arm == "ours" else "(beside it)",
                met=share["least"] >= 0.97 if arm == "ours" else None,
            )
        )
    return lines


def main(arguments: Arguments) -> None:
    set_threads(arguments.threads)
    cells = Cells(arguments)
    chosen, tried = {}, {}
    for arm in arguments.arms:
        chosen[arm], tried[arm] = choose(cells, arm, arguments.tuning_seeds)
    runs: dict[str, dict[int, Any]] = {arm: {} for arm in arguments.arms}
    for seed in arguments.seeds:
        for arm in arguments.arms:
            if cell := cells.get(arm, chosen[arm], seed):
                runs[arm][seed] = cell
    found = {arm: {s: Curve.of(c) for s, c in rows.items()} for arm, rows in runs.items()}
    numbers = {
        "plan": asdict(arguments.plan),
        "tuned_on_seeds": list(arguments.tuning_seeds),
        "tried": tried,
        "chosen": {arm: asdict(setting) for arm, setting in chosen.items()},
        "against": {rival: against(rival, found) for rival in RIVALS if rival in found},
        "kept": {arm: kept(list(rows.values())) for arm, rows in found.items() if rows},
        "curves": {arm: mean_curve(list(rows.values())) for arm, rows in found.items() if rows},
        "runs": {arm: [summary(s, c) for s, c in rows.items()] for arm, rows in runs.items()},
    }
    if arguments.plot is not None:
        plot(found, arguments.plot)
    write_result(arguments.out, numbers, seeds=arguments.seeds, headlines=headlines(numbers))


def summary(seed: int, cell: dict[str, Any]) -> dict[str, Any]:
    """A run without its gold prompt by prompt."""
    points = [{**p, "gold": round(float(np.mean(p["gold"])), 4)} for p in cell["points"]]
    rest = {name: cell[name] for name in cell if name not in ("asked", "points")}
    return {"seed": seed, **rest, "points": points}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
