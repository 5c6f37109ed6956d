"""Does a 90 % interval hold nine verdicts of ten, here, on other slices and under every shift?

    python -m benchmarks.calibration --kept FOLDER     (verdicts cost minutes a seed, fits seconds)

On worked sums, raters helped by critiques (a tenth of their labels coin flips) compare pairs of the
base policy's answers. A `Calibrated` reward is fitted on about 2,000 comparisons and asked for 90 %
intervals on prompts it has not seen: of the same kind (several folds a seed), by length and style,
and under each shift of the world. An interval covers a verdict if it holds a margin that agrees,
and *decides* if it lies on one side of 0: always-both covers everything and decides nothing, so
the share decided stands beside every coverage. Beside ours: the posterior's own interval (std ×
1.645) and ours without the widening by novelty. Gold is looked at where raters share an error:
impressed by form, and not helped. Then real people: hh-rlhf harmless-base on MiniLM.

Intervals of the estimates are clustered by prompt, seeds pooled. Tuned on seeds 100 and 101
(which doubt, how much widening); those are not reported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import headline, shared, write_result
from benchmarks.sums_verdicts import SHIFTS, Source
from trueline import stats
from trueline.cli.common import set_threads
from trueline.data.comparisons import Comparisons, make_folds
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Comparison
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.doubt import NOISE, CalibratedReward
from trueline.rewards.protocols import Fitted
from trueline.rng import stream
from trueline.worlds.sums import Sums, trunk_path
from trueline.worlds.sums.language import parse

WAYS = ("calibrated", "without widening", "posterior x 1.645")
NORMAL_90 = 1.6449
DEFAULT = Bayesian()


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1)
    num: int = 2300
    """Comparisons of the kind fitted on; six sevenths of them are fitted on at a time."""
    shifted: int = 300
    """Comparisons under each shift."""
    rounds: int = 3
    """Of the seven folds, how many are left out in turn."""
    impressed_seeds: tuple[int, ...] = (0,)
    kept: Path | None = None
    """Folder where verdicts and readings are kept between calls."""
    hh_readings: Path | None = None
    """Kept readings of hh harmless (see hh_harmless.py); without them hh is left out."""
    threads: int = 1
    out: Path = Path("results/calibration.json")


@dataclass
class Rows:
    """Judged pairs, gathered over seeds: ends of the interval and more, one list a column."""

    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, **columns: np.ndarray) -> None:
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(np.asarray(values))

    def __getitem__(self, name: str) -> np.ndarray:
        return np.concatenate(self.columns[name])

    def coverage(self, way: str, where: np.ndarray | None = None, *, gold: bool = False) -> Any:
        """What `stats.coverage` finds; against the side of higher gold instead of the verdict."""
        low, high = self[f"{way} low"], self[f"{way} high"]
        keep = np.ones(len(low), bool) if where is None else where
        if gold:
            sign = np.sign(self["gold"])
            low, high = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
            keep = keep & (sign != 0)
        scored = self["scored"] if way == "calibrated" else np.ones(len(low), bool)
        found = stats.coverage(
            low[keep],
            high[keep],
            scored=scored[keep],
            clusters=self["group"][keep],
            rng=stream(0, "calibration", "intervals"),
        )
        return found.as_dict()


def judge(
    rewards: Mapping[str, CalibratedReward], pairs: Comparisons, readings: Readings, rows: Rows
) -> None:
    """Add every way's interval of chosen over rejected, and what else is known of the pairs."""
    first, second = readings.rows(pairs.chosen_keys), readings.rows(pairs.rejected_keys)
    for way in ("calibrated", "without widening"):
        low, high = rewards[way].margin_interval(readings, first, second)
        rows.add(**{f"{way} low": low, f"{way} high": high})
    ours = rewards["calibrated"]
    mean, std = ours.inner.margin(readings, first, second)
    low, high = mean - NORMAL_90 * std, mean + NORMAL_90 * std
    rows.add(**{"posterior x 1.645 low": low, "posterior x 1.645 high": high})
    scores = ours.score(readings)
    rows.add(
        scored=scores.scored[first] & scores.scored[second],
        novelty=np.maximum(scores.novelty[first], scores.novelty[second]),
        doubt=ours.margin(readings, first, second)[1],
        mean=mean,
        group=np.asarray(pairs.groups),
    )


def describe(pairs: Comparisons, rows: Rows) -> None:
    """Gold of chosen over rejected, and the slices a pair lies in."""
    world = Sums()
    rows.add(
        gold=np.array([world.gold(c.chosen) - world.gold(c.rejected) for c in pairs]),
        words=np.array([len(f"{c.chosen.text} {c.rejected.text}".split()) for c in pairs]),
    )
    read = [(parse(c.chosen.text), parse(c.rejected.text)) for c in pairs]
    for kind in ("flattery", "claim", "sure"):
        marks = np.array([[bool(getattr(side, kind)) for side in both] for both in read])
        rows.add(**{kind: marks[:, 0] != marks[:, 1]})


@dataclass(frozen=True, kw_only=True)
class Once:
    """A head that fits the same comparisons only once."""

    head: Bayesian
    known: dict[tuple[str, ...], Fitted] = field(default_factory=dict)

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> Fitted:
        key = tuple(f"{c.chosen.key} {c.rejected.key} {c.rater}" for c in comparisons)
        if key not in self.known:
            self.known[key] = self.head.fit(readings, comparisons, rng=rng)
        return self.known[key]


def fitted(
    pairs: Comparisons, readings: Readings, seed: int, plain: Bayesian = DEFAULT
) -> dict[str, CalibratedReward]:
    """Ours, and ours with no widening by novelty, on the same fits."""
    head = Once(head=plain)
    ways = {
        "calibrated": Calibrated(head=head),
        "without widening": Calibrated(head=head, widening=0),
    }
    return {
        way: calibrated.fit(readings, pairs, rng=stream(seed, "calibration", "fit"))
        for way, calibrated in ways.items()
    }


def one_seed(trunk: Trunk, asked: Arguments, seed: int, gathered: dict[str, Rows]) -> list[Any]:
    """Adds what one seed's verdicts say, split by split; returns what the fits found."""
    source = Source(trunk, kept=asked.kept)
    pairs, readings = source.draw("train", asked.num, seed)
    folds = make_folds(pairs.groups, 7, stream(seed, "calibration", "folds"))[: asked.rounds]
    cards = []
    for turn, (train, test) in enumerate(folds):
        rewards = fitted(pairs.take(train), readings, seed)
        cards.append(rewards["calibrated"].metadata["calibration"])
        judge(rewards, pairs.take(test), readings, gathered["in distribution"])
        describe(pairs.take(test), gathered["in distribution"])
        for split in SHIFTS if turn == 0 else ():
            others, read = source.draw(split, asked.shifted, seed)
            judge(rewards, others, read, gathered[split])
            describe(others, gathered[split])
        print(seed, turn, cards[-1], flush=True)
    return cards


def shared_error(trunk: Trunk, asked: Arguments) -> dict[str, Any]:
    """Raters who are impressed by form and not helped: verdicts, gold, and what the doubt says."""
    rows = Rows()
    source = Source(trunk, population="impressed", assisted=False, kept=asked.kept)
    for seed in asked.impressed_seeds:
        pairs, readings = source.draw("train", asked.num, seed)
        folds = make_folds(pairs.groups, 7, stream(seed, "calibration", "folds"))
        for train, test in folds[: asked.rounds]:
            judge(fitted(pairs.take(train), readings, seed), pairs.take(test), readings, rows)
            describe(pairs.take(test), rows)
    return {"verdicts": rows.coverage("calibrated"), **against_gold(rows)}


def against_gold(rows: Rows) -> dict[str, Any]:
    """Coverage of the better side, and how well being undecided tells pairs ranked against gold
    (AUC: one half is chance)."""
    known = rows["gold"] != 0
    wrong = (np.sign(rows["mean"]) != np.sign(rows["gold"]))[known]
    undecided = -np.abs(rows["mean"]) / np.sqrt(NOISE + rows["doubt"] ** 2)
    auc = stats.auc(undecided[known], wrong, clusters=rows["group"][known])
    return {
        "gold": rows.coverage("calibrated", gold=True),
        "ranked_against_gold": float(wrong.mean()),
        "undecided_tells_wrong_auc": auc.as_dict(),
        "mean_doubt": float(rows["doubt"].mean()),
        "median_novelty": float(np.median(rows["novelty"])),
    }


def real_people(asked: Arguments) -> dict[str, Any] | None:
    """hh harmless on MiniLM, one fifth of the dialogues held out in turn; one layer, and neither
    swaps nor other clipping looked for, which this evidence does not want and which take long."""
    if asked.hh_readings is None:
        return None
    readings = Readings.load(asked.hh_readings)
    pairs = Comparisons.load(shared() / "data" / "hh_harmless" / "pairs.jsonl.gz")
    rows, plain = Rows(), Bayesian(num_layers=1, label_noise=0.0, winsor=3.0)
    for train, test in make_folds(pairs.groups, 5, stream(0, "calibration", "hh")):
        rewards = fitted(pairs.take(train), readings, 0, plain)
        judge(rewards, pairs.take(test), readings, rows)
    return {"pairs": len(pairs), **{way: rows.coverage(way) for way in WAYS}}


def slices(rows: Rows) -> dict[str, Any]:
    """Coverage by length (thirds, in words of both answers) and by how the two differ in manner."""
    words = rows["words"]
    short, long = np.quantile(words, [1 / 3, 2 / 3])
    where = {
        "short": words <= short,
        "middle": (words > short) & (words <= long),
        "long": words > long,
        "one flatters": rows["flattery"],
        "one claims to have checked": rows["claim"],
        "one says it is sure": rows["sure"],
        "alike in manner": ~(rows["flattery"] | rows["claim"] | rows["sure"]),
    }
    return {name: rows.coverage("calibrated", mask) for name, mask in where.items()}


def headlines(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    here = numbers["splits"]["in distribution"]
    ours, rival = here["calibrated"], here["posterior x 1.645"]
    under = {
        name: found["calibrated"]["covered"]
        for name, found in numbers["splits"].items()
        if name != "in distribution" and found["calibrated"]["covered"]["value"] is not None
    }
    worst = min(under, key=lambda name: under[name]["value"])
    silent = [name for name in numbers["splits"] if name not in under][1:]
    by_slice = {name: found["covered"] for name, found in numbers["slices"].items()}
    lowest = min(by_slice, key=lambda name: by_slice[name]["value"])
    lines = [
        headline(
            "90 % interval on sums: verdicts covered, in distribution",
            ours["covered"],
            bar="0.87 to 0.93",
            met=0.87 <= ours["covered"]["value"] <= 0.93,
        ),
        headline(
            "its pairs decided (the posterior's own interval covers "
            f"{rival['covered']['value']:.3f} and decides {rival['decided']['value']:.3f})",
            ours["decided"],
            bar="-",
            met=None,
        ),
        headline(
            f"90 % interval on sums: verdicts covered under the worst of {len(SHIFTS)} shifts "
            f"({worst}; wholly unscored: {', '.join(silent) or 'none'})",
            under[worst],
            bar="≥ 0.80",
            met=under[worst]["value"] >= 0.80,
        ),
        headline(
            f"90 % interval on sums: verdicts covered on the worst slice ({lowest})",
            by_slice[lowest],
            bar="-",
            met=None,
        ),
        headline(
            "raters impressed and not helped, an error all heads share: better answer by gold "
            f"covered (verdicts: {numbers['impressed']['verdicts']['covered']['value']:.3f}, mean "
            f"doubt {numbers['impressed']['mean_doubt']:.2f} against "
            f"{numbers['helped']['mean_doubt']:.2f} of helped raters)",
            numbers["impressed"]["gold"]["covered"],
            bar="-",
            met=None,
        ),
    ]
    if numbers["hh_harmless"] is not None:
        real = numbers["hh_harmless"]["calibrated"]["covered"]
        lines.append(
            headline(
                "90 % interval on hh harmless, MiniLM: verdicts covered",
                real,
                bar="0.87 to 0.93",
                met=0.87 <= real["value"] <= 0.93,
            )
        )
    return lines


def main(asked: Arguments) -> None:
    set_threads(asked.threads)
    trunk = Trunk.load(trunk_path())
    gathered = {name: Rows() for name in ("in distribution", *SHIFTS)}
    cards = [one_seed(trunk, asked, seed, gathered) for seed in asked.seeds]
    numbers = {
        "trunk": trunk.fingerprint()[:16],
        "comparisons": asked.num,
        "splits": {
            name: {
                **{way: rows.coverage(way) for way in WAYS},
                "gold": rows.coverage("calibrated", gold=True),
                "median_novelty": float(np.median(rows["novelty"])),
            }
            for name, rows in gathered.items()
        },
        "slices": slices(gathered["in distribution"]),
        "helped": against_gold(gathered["in distribution"]),
        "impressed": shared_error(trunk, asked),
        "hh_harmless": real_people(asked),
        "fits": cards,
    }
    write_result(asked.out, numbers, seeds=asked.seeds, headlines=headlines(numbers))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
