"""The loop at equal label time: raters helped by critiques, alone, or helped where it pays.

    python -m benchmarks.oversight_loop                    (resumable; each a quarter of an hour
    python -m benchmarks.oversight_loop --judge-s 24000     on an idle core)

Every arm gets the same seconds of simulated judging (controls are paid from them), the same prompts
and the same raters, who look at one step of an answer, err in 5 % of looks, flip a coin for 10 % of
labels, take 8 s a look and 0.25 s a word. Arms: `none` (alone), `critique` (every item with the
critique of the trunk's own reviewer), `allocator` (critiques where controls have shown them to be
worth their time). Gold is measured on 200 fresh prompts and used for nothing; what is compared is
the policy after the last round, certified or not, paired by seed. The certified policy's gold is
told beside it: so few labels seldom suffice for a certificate, which is why four times the seconds
are measured too. One seed each of `debate` and
`recursive` stands beside them.

Every finished run goes to `cells`, and a second call makes only those that are missing; `--again`
makes none. Seed 100 was used to choose sizes, those reported are 0 to 4; but the allocator's prior
and its putting controls first were chosen after its first version had failed on seed 0 (kept among
the runs, as "allocator, uniform prior and controls spread over the rounds").
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import ROOT, headline, write_result
from trueline import stats
from trueline.cli.common import load_trunk, set_threads
from trueline.loop.online import Online
from trueline.loop.progress import Silent
from trueline.loop.task import Task
from trueline.loop.tasks import LEVELS, Asked, make_task
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.oversight.recursive import Recursive
from trueline.protocols import Oversight
from trueline.records import Estimate
from trueline.runs import RunFolder
from trueline.worlds.sums import Raters
from trueline.worlds.sums.raters import POPULATIONS
from trueline.worlds.sums.spans import Spans

Run = dict[str, Any]
SLIP = 0.05
SMALL_S, LARGE_S = 6_000.0, 24_000.0
ARMS = ("none", "critique", "allocator")
PROTOCOLS: dict[str, Oversight] = {
    "none": Direct(),
    "critique": WithCritique(),
    "allocator": WithCritique(),
    "debate": Debate(rounds=1),
    "recursive": Recursive(depth=len(LEVELS), division=Spans()),
}


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    arms: tuple[str, ...] = ARMS
    """Also debate and recursive, whose raised helpers are paid from the same seconds."""
    judge_s: float = SMALL_S
    """Seconds of judging a run, in every arm; those of 6,000 and of 24,000 are told."""
    slip_share: float = SLIP
    """Share of looks in which the raters err; other than 0.05 it is told as sensitivity."""
    rounds: int = 3
    prompts_per_round: int = 64
    measured_prompts: int = 200
    cells: Path = ROOT / "results" / "oversight_loop.cells.jsonl"
    again: bool = False
    """Only write the result, from the cells there are."""
    out: Path = ROOT / "results" / "oversight_loop.json"


def task_of(arm: str, seed: int, slip_share: float) -> Task:
    assist: Any = "critique" if arm == "allocator" else arm
    asked = Asked(
        model=None,
        prompts=None,
        prompt_words=None,
        rater="simulated",
        assist=assist,
        max_new_tokens=80,
        seed=seed,
    )
    task = make_task(load_trunk(None, device="cpu"), asked)
    people = replace(POPULATIONS["default"], slip_share=slip_share)
    return replace(task, rater=Raters(people).at)


def run(arm: str, seed: int, arguments: Arguments) -> Run:
    """One run; what it came to."""
    spec = Online(
        rounds=arguments.rounds,
        judge_s=arguments.judge_s,
        control_frac=0.1 if arm == "allocator" else 0.0,
        prompts_per_round=arguments.prompts_per_round,
        measured_prompts=arguments.measured_prompts,
        protocol=PROTOCOLS[arm],
        curve=(2, 1),
        oracle_samples=2,
        seed=seed,
    )
    start = time.process_time()
    with (
        tempfile.TemporaryDirectory() as place,
        RunFolder.create(Path(place) / "run", {"seed": seed}, data_hashes={}) as folder,
    ):
        result = spec.run(task_of(arm, seed, arguments.slip_share), folder, Silent())
    rows = result["rounds"]
    return {
        "arm": arm,
        "seed": seed,
        "budget_s": arguments.judge_s,
        "slip_share": arguments.slip_share,
        "gold_base": result["gold_base"]["value"],
        "gold_last": rows[-1]["gold"]["value"],
        "gold_certified": result["gold_final"]["value"],
        "certified_round": result["certified_round"],
        "labels": result["labels"],
        "judge_s": result["judge_s"],
        "cpu_s": round(time.process_time() - start, 1),
        "rounds": [
            {
                "gold": row["gold"]["value"],
                "gate": row["gate"]["decision"],
                "win_rate": row["gate"]["win_rate"]["value"],
                "labels_agree_with_gold": row["rater_gold_agreement"]["value"],
                "labels": row["labels"],
                "judge_s": row["judge_s"],
                "protocols": row["protocols"],
                "allocator": row["allocator"],
                "answers": row["gold_breakdown"],
            }
            for row in rows
        ],
    }


def measure(arguments: Arguments) -> list[Run]:
    """All runs, those that are there and those that are missing."""
    cells: list[Run] = []
    if arguments.cells.exists():
        cells = [json.loads(line) for line in arguments.cells.read_text().splitlines()]
    known = {(c["arm"], c["seed"], c["budget_s"], c["slip_share"]) for c in cells}
    now = (arguments.judge_s, arguments.slip_share)
    for seed in arguments.seeds:
        for arm in arguments.arms:
            if not arguments.again and (arm, seed, *now) not in known:
                cells.append(run(arm, seed, arguments))
                with arguments.cells.open("a") as file:
                    file.write(json.dumps(cells[-1]) + "\n")
                print(json.dumps({k: v for k, v in cells[-1].items() if k != "rounds"}), flush=True)
    return cells


def paired(rows: Sequence[Run], others: Sequence[Run], what: str) -> Estimate:
    """The difference between two arms, seed by seed."""
    known = {r["seed"]: r[what] for r in others}
    return stats.mean([r[what] - known[r["seed"]] for r in rows if r["seed"] in known])


def helped(run: Run) -> float:
    """Share of the labels to learn from that were given with help."""
    kinds = [row["protocols"]["learn"] for row in run["rounds"]]
    alone, asked = sum(k.get("direct", 0) for k in kinds), sum(sum(k.values()) for k in kinds)
    return float(1 - alone / asked)


def per_hour(run: Run) -> float:
    """Gold gained by an hour of judging."""
    return float(3600 * (run["gold_last"] - run["gold_base"]) / sum(run["judge_s"].values()))


def summary(rows: Sequence[Run]) -> dict[str, Any]:
    """One arm in means over seeds."""
    columns = {
        "gold_last": [r["gold_last"] for r in rows],
        "gold_certified": [r["gold_certified"] for r in rows],
        "gold_per_judge_hour": [per_hour(r) for r in rows],
        "helped_frac": [helped(r) for r in rows],
        "labels_to_learn_from": [r["labels"]["learn"] for r in rows],
        "judge_s": [sum(r["judge_s"].values()) for r in rows],
        "labels_agree_with_gold": [
            sum(row["labels_agree_with_gold"] for row in r["rounds"]) / len(r["rounds"])
            for r in rows
        ],
    }
    return {name: stats.mean(values).as_dict() for name, values in columns.items()}


def compared(arms: dict[str, list[Run]], hours: str) -> list[dict[str, Any]]:
    """The arms against one another at one budget."""
    alone, every, chosen = (arms[name] for name in ARMS)
    lines = []
    for what, told in (("gold_last", "after the last round"), ("gold_certified", "certified")):
        for name, rows, others in (
            ("critiques on every item, less alone", every, alone),
            ("critiques where worth their time, less alone", chosen, alone),
            ("critiques where worth their time, less on every item", chosen, every),
        ):
            found = paired(rows, others, what)
            barred = what == "gold_last" and others is alone
            met = bool(found.lower is not None and found.lower > 0) if barred else None
            bar = "above zero" if barred else "(beside it)"
            title = f"loop, {hours} of judging, gold {told}: {name}"
            lines.append(headline(title, found.as_dict(), bar=bar, met=met))
    return lines


def headlines(small: dict[str, list[Run]], large: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """What is told first."""
    lines = [*compared(large, "24,000 s"), *compared(small, "6,000 s")]
    for name, rows in small.items():
        if rows:
            found = stats.mean([per_hour(r) for r in rows])
            what = f"loop, 6,000 s: gold gained by an hour of judging: {name}"
            lines.append(headline(what, found.as_dict(), bar="(beside it)", met=None))
    share = stats.mean([helped(r) for r in small["allocator"]]).as_dict()
    what = "share of the labels to learn from for which the allocator bought a critique"
    return [*lines, headline(what, share, bar="(beside it)", met=None)]


def main(arguments: Arguments) -> None:
    set_threads(1)
    runs = measure(arguments)

    def arms(budget_s: float) -> dict[str, list[Run]]:
        usual = [r for r in runs if (r["budget_s"], r["slip_share"]) == (budget_s, SLIP)]
        return {arm: [r for r in usual if r["arm"] == arm] for arm in PROTOCOLS}

    small, large = arms(SMALL_S), arms(LARGE_S)
    others = [r for r in runs if r["slip_share"] != SLIP]
    careless = {arm: [r for r in others if r["arm"] == arm] for arm in ARMS}
    numbers = {
        "arms": {a: summary(rows) for a, rows in small.items() if rows},
        "arms_at_24000_s": {a: summary(rows) for a, rows in large.items() if rows},
        "sensitivity": {
            f"{a}, raters err in {rows[0]['slip_share']:.0%} of looks": summary(rows)
            for a, rows in careless.items()
            if rows
        },
        "runs": runs,
    }
    write_result(arguments.out, numbers, seeds=arguments.seeds, headlines=headlines(small, large))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
