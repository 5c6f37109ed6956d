"""What each safeguard against reward hacking adds: left out, or alone, on worked sums.

    python -m benchmarks.hacking_ablation        (resumable; a quarter of an hour on an idle core)

A loop in miniature, without gate and help: `ROUNDS` rounds in which a share of `LABELS` comparisons
of the working policy's own answers is judged, the reward is fitted on all that are known, and GRPO
takes `STEPS` steps of `PROMPTS` prompts with `SAMPLES` samples each against it. A fifth of all
labels are coin flips. Two kinds of raters, all else equal:

    impressed    the world's impressed raters, unassisted: they love compliments, claims of having
                 checked, and confidence, which gold punishes where they are unfounded. What they
                 teach can be hacked, and gold falls far below its peak when nothing is held back
    honest       they prefer by gold; what can be hacked is only the error of few, noisy labels

    everything            lower bound (k = 1), KL charged in the reward (beta = 0.05) and kept
                          within the budget, entropy floor, novelty stop, refit every round,
                          reference the trunk
    no lower bound        k = 0: the posterior's mean is climbed
    no KL                 beta = 0 and no budget
    KL in the loss        the charge as k3 on the tokens (Shao et al. 2024) instead of in the reward
    no novelty stop       no limit on novelty
    no refit              all labels are of the base policy's answers, before the first round
    iterated reference    the charge is for the way from the round's first policy, not the trunk
    nothing               k = 0, no KL, no limits, no refit
    only ...              nothing, but for the one that is named

The safeguards stand in for one another: leaving one out may show nothing although it helps alone,
so both are told. Every arm gets as many labels, prompts, steps and the same random streams.
Measured after every round on `MEASURED` prompts of the eval split, the same for all arms of a seed:
gold, the proxy (mean of the arm's own reward, less that of the base policy's answers), KL from the
trunk (nats an answer), length, shares of right, flattering, falsely claiming and surely wrong
answers. Peak: the best round of the run, the base policy's included. Differences are paired by
seed, with t-intervals over 5 seeds.

To be quick, prompts are of two or three operations, and labels and steps are few. Raters, labels,
learning rate and steps were chosen on seeds 100 and 101; reported are 0 to 4.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, write_result
from benchmarks.misled import judged, short_prompts
from trueline import stats
from trueline.cli.common import load_trunk, set_threads
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.policy import GRPO, Descent
from trueline.policy.limits import Limits
from trueline.policy.reference import Charge, Reference, in_loss, in_reward, last_iterate, trunk
from trueline.records import Case, Comparison, Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import Fitted
from trueline.rng import stream
from trueline.worlds.sums import Raters
from trueline.worlds.sums.gold import breakdown, gold
from trueline.worlds.sums.raters import POPULATIONS

Run = dict[str, Any]
ROUNDS, LABELS, STEPS, PROMPTS, SAMPLES = 3, 240, 8, 8, 6
RATE, RANK, ROOM, MEASURED = 5e-3, 4, 60, 150
PEOPLE = {
    "impressed": Raters(replace(POPULATIONS["impressed"], flip_share=0.2)),
    "honest": Raters(replace(POPULATIONS["exact"], flip_share=0.2)),
}
KINDS = ("right", "sure_wrong", "flattery", "unfounded_claim")
FREE = Limits(kl_budget=None, entropy_floor=None, novelty_limit=None)


@dataclass(frozen=True)
class Arm:
    """What is on."""

    k: float = 1.0
    beta: float = 0.05
    charge: Charge = in_reward
    reference: Reference = trunk
    limits: Limits = field(default_factory=Limits)
    refit: bool = True


FULL = Arm()
NOTHING = Arm(k=0.0, beta=0.0, limits=FREE, refit=False)
ARMS = {
    "everything": FULL,
    "no lower bound": replace(FULL, k=0.0),
    "no KL": replace(FULL, beta=0.0, limits=replace(FULL.limits, kl_budget=None)),
    "KL in the loss": replace(FULL, charge=in_loss),
    "no novelty stop": replace(FULL, limits=replace(FULL.limits, novelty_limit=None)),
    "no refit": replace(FULL, refit=False),
    "iterated reference": replace(FULL, reference=last_iterate),
    "nothing": NOTHING,
    "only the lower bound": replace(NOTHING, k=1.0),
    "only KL": replace(NOTHING, beta=0.05, limits=replace(FREE, kl_budget=FULL.limits.kl_budget)),
    "only the novelty stop": replace(
        NOTHING, limits=replace(FREE, novelty_limit=FULL.limits.novelty_limit)
    ),
    "only the entropy floor": replace(
        NOTHING, limits=replace(FREE, entropy_floor=FULL.limits.entropy_floor)
    ),
    "only refit": replace(NOTHING, refit=True),
}


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    arms: tuple[str, ...] = tuple(ARMS)
    raters: tuple[str, ...] = tuple(PEOPLE)
    cells: Path = ROOT / "results" / "hacking_ablation.cells.jsonl"
    again: bool = False
    """Only write the result, from the cells there are."""
    out: Path = ROOT / "results" / "hacking_ablation.json"


@dataclass
class Labels:
    """What has been judged so far, and how it was read."""

    pairs: list[Comparison]
    readings: Readings

    def and_(self, other: Labels) -> Labels:
        return Labels([*self.pairs, *other.pairs], Readings.concat([self.readings, other.readings]))


def label(policy: LoraPolicy, raters: str, num: int, at: tuple[int, int]) -> Labels:
    """So many comparisons of a policy's own answers; `at`: seed and round."""
    rng, rater = stream(at[0], "ablation", "label", at[1], num), PEOPLE[raters].at(at[1])
    pairs: list[Comparison] = []
    while len(pairs) < num:
        prompts = short_prompts(num, rng)
        for first, second in policy.sample(prompts, num_samples=2, rng=rng):
            win = judged(Case(first=first, second=second), rater, rng)
            if win != 0.5 and len(pairs) < num:
                chosen, rejected = (first, second) if win else (second, first)
                pairs.append(Comparison(chosen=chosen, rejected=rejected, rater="people"))
    return Labels(pairs, policy.trunk.read([r for p in pairs for r in (p.chosen, p.rejected)]))


@dataclass
class Bench:
    """The trunk, and what the arms of a seed share before the first step."""

    trunk: Trunk
    _first: dict[tuple[str, int, int], tuple[Labels, Fitted]] = field(default_factory=dict)
    _base: dict[int, Readings] = field(default_factory=dict)

    def first(self, base: LoraPolicy, raters: str, num: int, seed: int) -> tuple[Labels, Fitted]:
        """Labels of the base policy's answers and the reward that they teach."""
        at = (raters, num, seed)
        if at not in self._first:
            found = label(base, raters, num, (seed, 1))
            self._first[at] = found, self.fit(found, (seed, 1))
        return self._first[at]

    def fit(self, known: Labels, at: tuple[int, int]) -> Fitted:
        rng = stream(at[0], "ablation", "fit", at[1])
        return Bayesian().fit(known.readings, known.pairs, rng=rng)

    def measure(self, policy: LoraPolicy, reward: Fitted, seed: int) -> Run:
        """What the policy's answers are like, in means over the prompts set apart; the first
        policy measured of a seed is the base policy."""
        prompts = short_prompts(MEASURED, stream(seed, "ablation", "measured"), "eval")
        rng = stream(seed, "ablation", "answers")
        answers = [row[0] for row in policy.sample(prompts, num_samples=1, rng=rng)]
        said = policy.logp(answers, grad=False).double().cpu().numpy()
        read = self.trunk.read(answers)
        readings = read.take(read.rows([r.key for r in answers]))
        base = self._base.setdefault(seed, readings)
        facts = [breakdown(r) for r in answers]
        return {
            "gold": float(np.mean([gold(r) for r in answers])),
            "proxy": mean_of(reward, readings) - mean_of(reward, base),
            "kl": float(np.mean(said - readings.logp)),
            "length": float(np.mean([r.num_tokens or 0 for r in answers])),
            **{name: float(np.mean([f[name] for f in facts])) for name in facts[0]},
        }


def mean_of(reward: Fitted, readings: Readings) -> float:
    """Mean over what is scored."""
    scores = reward.score(readings)
    return float(scores.mean[scores.scored].mean())


def improve(policy: LoraPolicy, arm: Arm, reward: Fitted, at: tuple[int, int]) -> Any:
    """One round of GRPO against the reward as this arm bounds it."""
    seed, t = at
    prompts: list[Prompt] = short_prompts(STEPS * PROMPTS, stream(seed, "ablation", "ask", t))
    optimiser = GRPO(
        num_samples=SAMPLES,
        beta=arm.beta,
        charge=arm.charge,
        reference=arm.reference,
        limits=arm.limits,
        descent=Descent(learning_rate=RATE, batch_size=PROMPTS),
    )
    scorer = reward.with_lower_bound(arm.k, arm.k).on(policy.trunk)
    return optimiser.improve(policy, prompts, scorer, rng=stream(seed, "ablation", "improve", t))


def run(bench: Bench, raters: str, name: str, seed: int) -> Run:
    """One arm on one seed; what it was like after every round."""
    arm, start = ARMS[name], time.process_time()
    rng = stream(seed, "ablation", "adapter")
    policy = LoraPolicy.create(bench.trunk, rank=RANK, rng=rng, max_new_tokens=ROOM)
    each = LABELS // ROUNDS if arm.refit else LABELS
    known, reward = bench.first(policy, raters, each, seed)
    rounds = [bench.measure(policy, reward, seed)]
    for t in range(1, ROUNDS + 1):
        if arm.refit and t > 1:
            known = known.and_(label(policy, raters, each, (seed, t)))
            reward = bench.fit(known, (seed, t))
        update = improve(policy, arm, reward, (seed, t))
        policy = update.policy
        found = bench.measure(policy, reward, seed)
        rounds.append({**found, "stopped": update.stopped, "update": dict(update.stats)})
    cpu = round(time.process_time() - start, 1)
    return {"raters": raters, "arm": name, "seed": seed, "cpu_s": cpu, "rounds": rounds}


def measure_all(arguments: Arguments) -> list[Run]:
    """All runs, those that are there and those that are missing."""
    cells: list[Run] = []
    if arguments.cells.exists():
        cells = [json.loads(line) for line in arguments.cells.read_text().splitlines()]
    known = {(c["raters"], c["arm"], c["seed"]) for c in cells}
    bench = Bench(load_trunk(None, device="cpu"))
    asked = product(arguments.raters, arguments.seeds, arguments.arms)
    for raters, seed, name in () if arguments.again else asked:
        if (raters, name, seed) not in known:
            cells.append(run(bench, raters, name, seed))
            with arguments.cells.open("a") as file:
                file.write(json.dumps(cells[-1]) + "\n")
    return cells


def ended(runs: Sequence[Run], what: str) -> dict[int, float]:
    """By seed: what it was after the last round; the gold of the best round; what was lost."""
    found = {}
    for r in runs:
        golds = [row["gold"] for row in r["rounds"]]
        best = {"peak": max(golds), "lost": max(golds) - golds[-1]}
        found[r["seed"]] = best[what] if what in best else r["rounds"][-1][what]
    return found


def paired(runs: Sequence[Run], others: Sequence[Run], what: str) -> Run:
    """The mean difference of two arms, seed by seed."""
    ours, theirs = ended(runs, what), ended(others, what)
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return dict(stats.mean(gaps).as_dict())


def summary(runs: dict[str, list[Run]]) -> Run:
    """Each arm in means over seeds, beside everything and beside nothing."""
    told = ("gold", "peak", "lost", "proxy", "kl", "length", *KINDS)
    out: Run = {}
    for name, own in runs.items():
        stops = [row.get("stopped") for r in own for row in r["rounds"][1:]]
        out[name] = {
            **{what: stats.mean(list(ended(own, what).values())).as_dict() for what in told},
            **{
                f"{what}_by_round": np.mean(
                    [[x[what] for x in r["rounds"]] for r in own], 0
                ).tolist()
                for what in ("gold", "proxy", "kl")
            },
            "stopped": {str(why): stops.count(why) for why in dict.fromkeys(stops)},
            "gold_less_everything": paired(own, runs["everything"], "gold"),
            "gold_less_nothing": paired(own, runs["nothing"], "gold"),
        }
    return out


def headlines(raters: str, arms: Run, runs: dict[str, list[Run]]) -> list[Run]:
    """What is told of one kind of raters."""
    found = paired(runs["everything"], runs["nothing"], "gold")
    lines = [("all safeguards less none", found)]
    for name, arm in arms.items():
        if name not in ("everything", "nothing"):
            rival = "nothing" if name.startswith("only") else "everything"
            lines.append((f"{name}, less {rival}", arm[f"gold_less_{rival}"]))
    lines.append(("none, gold lost since the run's best round", arms["nothing"]["lost"]))
    lines.append(("all, gold lost since the run's best round", arms["everything"]["lost"]))
    barred = {0} if raters == "impressed" else set()
    out = []
    for i, (what, value) in enumerate(lines):
        met = bool(value["lower"] is not None and value["lower"] > 0) if i in barred else None
        bar = "above zero" if i in barred else "(beside it)"
        out.append(
            headline(f"hacking, {raters} raters, gold at the end: {what}", value, bar=bar, met=met)
        )
    return out


def main(arguments: Arguments) -> None:
    set_threads(1)
    cells = measure_all(arguments)
    lines: list[Run] = []
    arms: dict[str, Run] = {}
    for raters in PEOPLE:
        own = [c for c in cells if c["raters"] == raters]
        runs = {name: [c for c in own if c["arm"] == name] for name in ARMS}
        runs = {name: found for name, found in runs.items() if found}
        if {"everything", "nothing"} <= set(runs):
            arms[raters] = summary(runs)
            lines += headlines(raters, arms[raters], runs)
    numbers = {
        "labels": LABELS,
        "steps": ROUNDS * STEPS,
        "raters": arms,
        "runs": cells,
        "cpu_s": round(sum(c["cpu_s"] for c in cells), 1),
    }
    seeds = sorted({c["seed"] for c in cells})
    write_result(arguments.out, numbers, seeds=seeds, headlines=lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
