"""Many raters: who is reliable, whose values, ties, people never heard, and drift over time.

    python -m benchmarks.aggregation --seeds 0 1 2        (sampling and reading take most of it)

On the embedded world, one pool of base samples is judged by simulated people, anew for each seed:
twenty of different reliability, two verdicts a pair; twenty of two groups, of whom fourteen like
to be flattered and six detest it; six whose tastes lie apart; people who keep their wants, and
people to whom flattery loses its worth. Gold of a group is the world's, with the group's own worth
of flattery. On real data, PandaLM (`benchmarks.pandalm`): three annotators with ties. Fits on sums
read one layer, the one that a first fit chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.stats import spearmanr

from benchmarks.common import headline, write_result
from benchmarks.pandalm import Read, as_dict, pandalm, ties
from trueline import stats
from trueline.cli.common import set_threads
from trueline.data.comparisons import Comparisons
from trueline.models.adapters import BasePolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Comparison, Preference, Response
from trueline.rewards.aggregation import Aggregation, ratings
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conflict import conflicts
from trueline.rewards.drift import drift, forget
from trueline.rewards.heldout import held_out_raters
from trueline.rng import stream
from trueline.worlds.sums import Sums, trunk_path
from trueline.worlds.sums.gold import GOLD, gold
from trueline.worlds.sums.language import parse
from trueline.worlds.sums.raters import Population, Raters, Tastes

__all__ = ["main"]

LIKES, DETESTS = 1.0, -1.5
MANY = Raters(Population(num_raters=14, warm_share=0.0, tastes=Tastes(flattery=LIKES)))
FEW = Raters(Population(num_raters=6, warm_share=1.0, tastes=Tastes(flattery=DETESTS), seed=1))
GROUPS = {p.name: "many" for p in MANY.people} | {p.name: "few" for p in FEW.people}
WORTH = {"few": DETESTS, "many": LIKES}


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    pairs: int = 1600
    prompts: int = 64
    samples: int = 32
    n: int = 16
    """Of which the best is picked."""
    streams: int = 200
    """Steady histories, for the false alarms; a tenth as many drifting ones."""
    threads: int = 1
    out: Path = Path("results/aggregation.json")


@dataclass(frozen=True)
class Pool:
    """What everybody judges, and what the rewards then pick from."""

    pairs: list[tuple[Response, Response]]
    fresh: list[list[Response]]
    readings: Readings


def pool(trunk: Trunk, arguments: Arguments) -> Pool:
    """Base samples: two to a prompt to be judged, many to an unseen prompt to pick from."""
    world, policy, rng = Sums(), BasePolicy(trunk, max_new_tokens=80), stream(0, "aggregation")
    asked = world.prompts(arguments.pairs, rng)
    pairs = [(a, b) for a, b in policy.sample(asked, num_samples=2, rng=rng) if a.text != b.text]
    prompts = world.prompts(arguments.prompts, rng, split="eval")
    fresh = policy.sample(prompts, num_samples=arguments.samples, rng=rng)
    return Pool(pairs, fresh, trunk.read(Read([r for row in (*pairs, *fresh) for r in row])))


def verdict(
    pair: tuple[Response, Response], raters: Raters, rng: np.random.Generator, round: int = 0
) -> Comparison | None:
    first, second = pair
    said = raters.compare(first, second, rng=rng)
    if said.preference is Preference.UNDECIDED:
        return None
    chosen, rejected = (first, second) if said.preference is Preference.FIRST else (second, first)
    return Comparison(chosen=chosen, rejected=rejected, rater=said.rater, round=round)


def judged(pool: Pool, people: list[Raters], rng: np.random.Generator) -> Comparisons:
    """Every pair once by each entry of `people`."""
    verdicts = [verdict(pair, raters, rng) for raters in people for pair in pool.pairs]
    return Comparisons(tuple(v for v in verdicts if v is not None))


def flatters(response: Response) -> bool:
    return bool(parse(response.text).flattery)


def worth(response: Response, group: str) -> float:
    """Gold with the group's own worth of flattery."""
    return gold(response) + (WORTH[group] - GOLD.flattery) * flatters(response)


def reliability(pool: Pool, head: Bayesian, seed: int) -> dict[str, Any]:
    """How temperatures of twenty people rank with their true reliability, one of them contrary."""
    raters = Raters(Population(num_raters=20, warm_share=0.0, drift=0.0, seed=seed))
    comparisons = judged(pool, [raters, raters], stream(seed, "aggregation", "reliability"))
    last = raters.people[-1].name
    turned = [
        replace(c, chosen=c.rejected, rejected=c.chosen) if c.rater == last else c
        for c in comparisons
    ]
    card = Aggregation(head=head).fit(pool.readings, turned, rng=stream(seed, "fit")).metadata
    honest = raters.people[:-1]
    found = [card["raters"][p.name]["temperature"] for p in honest]
    table, groups, _ = ratings(comparisons)
    agreement = stats.alpha(table, level="interval", clusters=groups, rng=stream(seed, "alpha"))
    return {
        "found": found,
        "true": [p.reliability for p in honest],
        "comparisons_per_rater": len(turned) / 20,
        "worse_than_chance": card["worse_than_chance"],
        "contrary": last,
        "alpha": agreement.as_dict(),
    }


def whose_values(pool: Pool, head: Bayesian, seed: int, n: int) -> dict[str, Any]:
    """Groups' gold of the best of n under each objective [B], and the conflict found."""
    rng = stream(seed, "aggregation", "groups")
    sides = [FEW if rng.random() < 0.3 else MANY for _ in pool.pairs]
    verdicts = [verdict(pair, side, rng) for pair, side in zip(pool.pairs, sides, strict=True)]
    comparisons = Comparisons(tuple(v for v in verdicts if v is not None))
    keys = [r.key for row in pool.fresh for r in row]
    fresh = pool.readings.take(pool.readings.rows(keys))
    shape = len(pool.fresh), len(pool.fresh[0])
    truth = {
        g: np.array([worth(r, g) for row in pool.fresh for r in row]).reshape(shape) for g in WORTH
    }
    one = Aggregation(head=head).fit(pool.readings, comparisons, rng=stream(seed, "fit"))
    reward = Aggregation(head=head, groups=GROUPS).fit(
        pool.readings, comparisons, rng=stream(seed, "fit")
    )
    fits = {"one for all": one, "mean": reward, "worst": replace(reward, objective="worst")}
    gains: dict[str, dict[str, np.ndarray]] = {}
    for name, fitted in fits.items():
        scores = fitted.score(fresh).mean.reshape(shape)
        gains[name] = {g: stats.best_of_n(scores, truth[g], n) - truth[g].mean(1) for g in truth}
    oracle = np.minimum(*truth.values())
    gains["oracle of the worst"] = {
        g: stats.best_of_n(oracle, truth[g], n) - truth[g].mean(1) for g in truth
    }
    (shown,) = conflicts(reward, pool.readings, comparisons, rng=stream(seed, "conflict"))
    parts: dict[bool, list[Comparison]] = {False: [], True: []}
    for c in comparisons:
        parts[flatters(c.chosen) != flatters(c.rejected)].append(c)
    shares = {
        differs: conflicts(reward, pool.readings, part, rng=stream(seed, "conflict"))[0].share
        for differs, part in parts.items()
    }
    return {
        "comparisons": len(comparisons),
        "gains": gains,
        "pooling": reward.metadata["pooling"],
        "conflict": {
            "share": shown.share.as_dict(),
            "correlation": shown.correlation.as_dict(),
            "share_where_one_of_two_flatters": shares[True].as_dict(),
            "share_elsewhere": shares[False].as_dict(),
            "largest": [d.first + " | " + d.second for d in shown.largest[:2]],
        },
    }


def worst_group(runs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Gold gained by each group and by the worse-off one, over seeds, intervals by prompt."""
    found: dict[str, Any] = {}
    pooled = {
        name: np.stack([np.mean([run["gains"][name][g] for run in runs], axis=0) for g in WORTH], 1)
        for name in runs[0]["gains"]
    }

    def least(gain: np.ndarray) -> float:
        return float(gain.mean(0).min())

    for name, gain in pooled.items():
        rng = stream(seed, "aggregation", "intervals")
        found[name] = {g: stats.mean(gain[:, i]).as_dict() for i, g in enumerate(WORTH)}
        found[name]["worse off"] = stats.bootstrap(least, gain, rng=rng).as_dict()
        found[name]["worse off over one for all"] = stats.bootstrap(
            lambda a, b: least(a) - least(b), gain, pooled["one for all"], rng=rng
        ).as_dict()
    return found


def unheard(pool: Pool, head: Bayesian, seed: int) -> dict[str, Any]:
    """Held-out raters beside held-out prompts, of six people apart in taste, and of six alike."""
    found = {}
    for name, drifted in (("apart", 4), ("alike", 0)):
        people = Raters(Population(num_raters=6, warm_share=0.0, drift=0.5, seed=seed), drifted)
        comparisons = judged(pool, [people], stream(seed, "aggregation", name))
        rng = stream(seed, "aggregation", "heldout", name)
        found[name] = as_dict(held_out_raters(head, pool.readings, comparisons, rng=rng))
    return found


def history(pool: Pool, seed: int, *, lost: float, num: int) -> Comparisons:
    """Four rounds of `num` verdicts in all; by the last, flattery is worth `lost` less to all."""
    rng = stream(seed, "aggregation", "history", f"{lost}")
    base = Population(num_raters=10, warm_share=0.0, drift=0.0, seed=seed)
    out: list[Comparison] = []
    for i, row in enumerate(rng.permutation(len(pool.pairs))[:num].tolist()):
        now = 4 * i // num
        tastes = replace(base.tastes, flattery=base.tastes.flattery - lost * now / 3)
        said = verdict(pool.pairs[row], Raters(replace(base, tastes=tastes)), rng, now)
        out += [] if said is None else [said]
    return Comparisons(tuple(out))


def over_time(pool: Pool, head: Bayesian, arguments: Arguments) -> dict[str, Any]:
    """Alarms on steady and on drifting histories of 400, and what forgetting gains on 1,600."""
    steady = replace(head, label_noise=0.0)
    found: dict[str, Any] = {}
    for name, lost, count in (
        ("steady", 0.0, arguments.streams),
        ("drifting", 1.5, arguments.streams // 10),
    ):
        alarms, named = [], []
        for seed in range(1000, 1000 + count):
            rows = history(pool, seed, lost=lost, num=400)
            reward = steady.fit(pool.readings, rows, rng=stream(seed, "fit"))
            rng = stream(seed, "drift")
            found_now = drift(reward, pool.readings, rows, rng=rng, num_permutations=199)
            alarms.append(float((found_now.p or 1.0) <= 0.05))
            named.append(float(min(p or 1.0 for p in found_now.by_rater.values()) <= 0.05))
        found[name] = {
            "alarms": stats.accuracy(alarms).as_dict(),
            "some_rater_named": stats.accuracy(named).as_dict(),
        }
    for name, lost in (("steady", 0.0), ("drifting", 1.5)):
        rows = history(pool, 1, lost=lost, num=len(pool.pairs))
        kept = forget(steady, pool.readings, rows, rng=stream(1, "forget"))
        found[name] |= {
            "kept_share": kept.share,
            "log_loss_by_share": {str(s): e.as_dict() for s, e in kept.loss.items()},
            "late_over_early": kept.late_over_early.as_dict(),
        }
    return found


def exact_ties(pool: Pool, head: Bayesian, seeds: Sequence[int]) -> dict[str, Any]:
    """What ties are worth where they mean equal gold: exact raters, a tenth of verdicts coins."""
    raters, rng = Raters.named("exact"), stream(0, "aggregation", "exact")
    decided, tied = [], []
    for pair in pool.pairs[:600]:
        said = raters.compare(*pair, rng=rng)
        first, second = pair if said.preference is not Preference.SECOND else pair[::-1]
        row = Comparison(chosen=first, rejected=second, rater=said.rater)
        (tied if said.preference is Preference.UNDECIDED else decided).append(row)
    pairs = Comparisons(tuple(decided), ties=tuple(tied))
    counts = {"decided": len(decided), "ties": len(tied)}
    return counts | ties(Aggregation(head=head), pool.readings, pairs, seeds)


def main(arguments: Arguments) -> None:
    set_threads(arguments.threads)
    real = pandalm(arguments.seeds)
    print(real, flush=True)
    trunk = Trunk.load(trunk_path())
    drawn = pool(trunk, arguments)
    one = Bayesian(num_layers=1)
    comparisons = judged(drawn, [MANY], stream(0, "aggregation", "layer"))
    head = replace(one, layer=one.fit(drawn.readings, comparisons, rng=stream(0, "fit")).layer)
    known, values = [], []
    for seed in arguments.seeds:
        known.append(reliability(drawn, head, seed))
        values.append(whose_values(drawn, head, seed, arguments.n))
        print(seed, values[-1]["conflict"], flush=True)
    numbers: dict[str, Any] = {
        "pairs": len(drawn.pairs),
        "layer": head.layer,
        "reliability": known,
        "whose_values": worst_group(values, arguments.seeds[0]),
        "conflict": [run["conflict"] | run["pooling"] for run in values],
        "held_out": unheard(drawn, head, arguments.seeds[0]),
        "ties_exact": exact_ties(drawn, head, arguments.seeds),
    }
    print(numbers, flush=True)
    numbers |= {"drift": over_time(drawn, head, arguments), "pandalm": real}
    write_result(arguments.out, numbers, seeds=arguments.seeds, headlines=headlines(numbers))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)


def headlines(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    known = numbers["reliability"]
    pairs = [np.concatenate([run[name] for run in known]) for name in ("found", "true")]
    ranks = stats.bootstrap(rank_correlation, *pairs, rng=stream(0, "ranks")).as_dict()
    told = [run["worse_than_chance"] == [run["contrary"]] for run in known]
    middle, worst = (
        numbers["whose_values"][name]["worse off over one for all"] for name in ("mean", "worst")
    )
    one = headline
    return [
        one(
            "sums: reliability of 19 raters a seed, rank correlation with the truth",
            ranks,
            bar="> 0",
            met=(ranks["lower"] or 0.0) > 0,
        ),
        one(
            "sums: seeds in which the contrary rater, and nobody else, is reported",
            f"{sum(told)} of {len(told)}",
            bar="all",
            met=all(told),
        ),
        one(
            'sums, best of 16: gold of the worse-off group, "worst" over one reward for all',
            worst,
            bar="> 0",
            met=worst["lower"] > 0,
        ),
        one(
            'sums, best of 16: gold of the worse-off group, "mean" over one reward for all',
            middle,
            bar="> 0",
            met=middle["lower"] > 0,
        ),
        *time_headlines(numbers),
        *real_headlines(numbers["pandalm"]),
    ]


def time_headlines(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    gap, one = numbers["held_out"]["apart"]["gap"], headline
    steady, moving = (numbers["drift"][name]["alarms"] for name in ("steady", "drifting"))
    return [
        one(
            "sums, six raters apart in taste: held-out prompt less held-out rater",
            gap,
            bar="",
            met=None,
        ),
        one(
            "drift: false alarms on steady histories at level 0.05",
            steady,
            bar="≤ 0.05 within the interval",
            met=steady["lower"] <= 0.05,
        ),
        one(
            "drift: alarms where flattery loses its worth in 400 verdicts",
            moving,
            bar="> 0.5",
            met=moving["lower"] > 0.5,
        ),
    ]


def real_headlines(real: dict[str, Any]) -> list[dict[str, Any]]:
    used = real["ties_used_against_dropped"]["log_loss_on_ties"]["difference"]
    same, one = real["ties_used_against_dropped"]["accuracy"]["difference"], headline
    return [
        one("PandaLM: Krippendorff's alpha", real["alpha"]["nominal"], bar="", met=None),
        one(
            "PandaLM: held-out prompt less held-out annotator, accuracy (these three)",
            real["held_out"]["gap_for_these_three"],
            bar="",
            met=None,
        ),
        one(
            "PandaLM: ties used less dropped, log loss on held-out ties",
            used,
            bar="< 0",
            met=used["upper"] < 0,
        ),
        one(
            "PandaLM: ties used less dropped, accuracy on decided pairs",
            same,
            bar="no loss beyond the interval",
            met=same["upper"] >= 0,
        ),
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
