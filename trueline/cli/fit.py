"""`trueline fit`: a reward from preference data, cross-validated by prompt, beside its floors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from trueline.cli.bench import interval, measure
from trueline.cli.common import cache_dir, load_trunk, reading_bar, set_threads
from trueline.data.baselines import baseline_accuracy
from trueline.data.benches import load_bench
from trueline.data.comparisons import Comparisons, make_folds
from trueline.errors import DataError
from trueline.records import Estimate
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.conservative import Conservative
from trueline.rewards.evaluate import cross_validate
from trueline.rewards.selfcheck import selfcheck
from trueline.rewards.storage import check_place
from trueline.rng import stream

__all__ = ["Fit"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a reward head on preference pairs and say how good it is.

    trueline fit pairs.jsonl --model Qwen/Qwen3-0.6B --out rewards/helpful
    """

    pairs: tyro.conf.Positional[Path]
    """Preferences: .jsonl, .jsonl.gz, .json, .csv or .parquet."""
    model: str
    """Folder or hub name of the trunk: a causal language model or an encoder."""
    out: Path = Path("reward")
    """Where the reward folder is written."""
    layer: int | None = None
    """Layer of the trunk to read; chosen by the evidence if not given."""
    pooling: Literal["last", "mean", "both"] | None = None
    """How a layer is pooled; chosen by the evidence if not given."""
    k: float = 1.0
    """How many standard deviations of doubt the lower bound subtracts."""
    calibrate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Calibrate an interval on held-out folds that holds nine of ten verdicts; fits six times."""
    folds: int = 5
    """Folds of the cross-validation, split by prompt (dialogues by their first turn)."""
    bench: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A bench to measure the reward on: RewardBench, RewardBench 2, RM-Bench; may be repeated."""
    seed: int = 0
    """Decides the folds and the intervals."""
    device: str = "cpu"
    """Where the trunk runs."""
    threads: int = 1
    """Torch threads; more than one pays only on cores that nobody else uses."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on standard output and nothing else there."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Cross-validate, fit on everything, save; returns the numbers."""
        set_threads(self.threads)
        check_place(self.out)
        pairs = Comparisons.load(self.pairs)
        benches = [load_bench(path) for path in self.bench]
        trunk = load_trunk(self.model, device=self.device, cache=cache_dir())
        plain = self._head(trunk.layers)
        head = Conservative(head=plain, k=self.k)
        if self.calibrate:
            # Its doubt grows with novelty already.
            head = Conservative(head=Calibrated(head=plain), k=self.k, distance=0.0)
        checks = selfcheck(trunk, pairs.responses[:8])
        started = time.perf_counter()
        with reading_bar("reading") as progress:
            readings = trunk.read(pairs.responses, progress=progress)
        encode_s = time.perf_counter() - started

        folds = make_folds(pairs.groups, self.folds, stream(self.seed, "folds"))
        rng = stream(self.seed, "validate")
        validated = cross_validate(plain, readings, pairs, folds=folds, rng=rng)
        below = baseline_accuracy(pairs, folds, stream(self.seed, "floors"))
        started = time.perf_counter()
        reward = head.fit(readings, pairs, rng=stream(self.seed, "fit"))
        fit_s = time.perf_counter() - started
        reward.save(self.out, model=self.model)
        accuracy = validated.accuracy
        calibration = reward.metadata.get("calibration")
        _print(console, accuracy, below)
        if calibration is not None:
            console.print(_told(calibration))
        console.print(f"layer {reward.layers[0]}; reward saved to {self.out}")
        measured = [
            measure(
                *(console, reward.on(trunk), bench, path),
                rng=stream(self.seed, "bench", str(path)),
                train=pairs,
            )
            for bench, path in zip(benches, self.bench, strict=True)
        ]
        return {
            "accuracy": accuracy.as_dict(),
            "floors": {name: estimate.as_dict() for name, estimate in below.items()},
            "layer": reward.layers[0],
            "pooling": reward.summary()["pooling"],
            "encode_s": round(encode_s, 3),
            "fit_s": round(fit_s, 3),
            "reward": str(self.out),
            "pairs": len(pairs),
            "skipped": dict(pairs.skipped),
            "truncated": int(readings.truncated.sum()),
            "selfcheck": checks,
            "calibration": calibration,
            "benches": measured,
        }

    def _head(self, layers: tuple[int, ...]) -> Bayesian:
        if self.layer is not None and self.layer not in layers:
            raise DataError(
                f"the layer must be one of {layers[0]}..{layers[-1]}",
                got=str(self.layer),
                do="leave --layer out to let the evidence choose",
            )
        return Bayesian(
            layer="evidence" if self.layer is None else self.layer,
            pooling=self.pooling or "evidence",
        )


def _told(calibration: dict[str, Any]) -> str:
    """What the calibrated interval holds."""
    share = f"{100 * (1 - calibration['alpha']):.0f} % interval"
    if calibration["limit"] is None:
        return f"{share}: infinite, too few prompts to calibrate on"
    covered, decided = (Estimate(**calibration[name]) for name in ("coverage", "decided"))
    return f"{share}, out of fold\n  holds the verdict  {covered}\n  decides the pair   {decided}"


def _print(console: Console, accuracy: Estimate, below: dict[str, Estimate]) -> None:
    table = Table(title="right on held-out prompts")
    for column in ("", "accuracy", "95 % interval", "pairs"):
        table.add_column(column)
    rows = {
        "reward": accuracy,
        "bag of words": below["bag_of_words"],
        "longer wins": below["longer"],
    }
    for name, e in rows.items():
        value = "not measured" if e.value is None else f"{e.value:.3f}"
        table.add_row(name, value, interval(e), str(e.n))
    console.print(table)
