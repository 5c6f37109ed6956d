"""`trueline fit`: a reward from preference data, cross-validated by prompt, beside its floors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from trueline.cli.bench import (
    beside_floors,
    measure,
    same_as_read,
    tell_cuts,
    verdict,
)
from trueline.cli.common import Place, cache_dir
from trueline.data.baselines import baseline_accuracy
from trueline.data.comparisons import Comparisons, make_folds
from trueline.data.principles import contrasts_of
from trueline.errors import InputError
from trueline.loop.layers import held_out, read_for
from trueline.progress import tell_left_out
from trueline.recipes.schema import Recipe, merged, read
from trueline.records import Estimate
from trueline.rewards import REWARDS
from trueline.rewards.benches import load_bench
from trueline.rewards.concept import labelled_of
from trueline.rewards.concept_prior import without_labels, worth_in_labels
from trueline.rewards.evaluate import cross_validate
from trueline.rewards.selfcheck import selfcheck
from trueline.rewards.storage import check_place
from trueline.rng import stream

__all__ = ["FitVerb"]

UNKNOWN = "no labelled pairs: what the principles say of people's choices is not known"


@dataclass(frozen=True, kw_only=True)
class FitVerb(Place):
    """Fit a reward on preference pairs and say how good it is.

    trueline fit pairs.jsonl --model Qwen/Qwen3-0.6B --out rewards/helpful

    trueline fit pairs.jsonl --model PATH --reward calibrated --set reward.alpha=0.2

    Principles come before labels, and do without any:

        trueline fit --principles harmless --model PATH

        trueline fit pairs.jsonl --principles harmless mine.toml --model PATH
    """

    pairs: tyro.conf.Positional[Path | None] = None
    """Preferences: .jsonl, .jsonl.gz, .json, .csv, .parquet, or a data set (folder, NAME:SPLIT);
    may be left out where principles are given."""
    model: str
    """Folder or hub name of the trunk: a causal language model or an encoder."""
    principles: tuple[str, ...] = ()
    """Principles that the reward starts from: harmless, helpful, honest, concise, or TOML files."""
    reward: str | None = None
    """A kind of reward (`trueline recipe --kinds`), or a recipe whose section `reward` says it; if
    not given conservative, around the principles where there are any."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: change one key, such as reward.head.layer=3; may be repeated."""
    out: Path = Path("reward")
    """Where the reward folder is written."""
    folds: int = 5
    """Folds of the cross-validation, split by prompt (dialogues by their first turn)."""
    strict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Stop at the first row that cannot be used, instead of counting it."""
    bench: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A bench to measure the reward on: RewardBench, RewardBench 2, RM-Bench; may be repeated."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Cross-validate, fit on everything, save; return the numbers."""
        recipe, contrasts = self._recipe()
        check_place(self.out)
        how = {"model": recipe.model.path, "dtype": recipe.model.dtype, "cache": cache_dir()}
        session = self.session(console, **how)
        pairs = self._labelled(session.check)
        skipped, pairs = pairs.skipped, Comparisons((*pairs, *contrasts))
        benches = [load_bench(path, check=session.check) for path in self.bench]
        trunk, spec = session.trunk, recipe.reward
        checks = selfcheck(trunk, pairs.responses[:8])
        readings, seen = read_for(spec, trunk, pairs, rng=stream(self.seed, "layers"))
        sides = [(pair.chosen, pair.rejected) for pair in pairs]
        apart = [i for i, both in enumerate(sides) if not same_as_read(trunk, readings, both)]
        cuts = tell_cuts(console, trunk, readings, len(pairs) - len(apart))
        judged = len(labelled_of(pairs := pairs.take(apart)))
        folds = self._folds(pairs, judged or len(pairs))
        folds = held_out(folds, np.flatnonzero(np.isin(apart, seen)))
        rng = stream(self.seed, "validate")
        validated = cross_validate(spec, readings, pairs, folds=folds, rng=rng)
        below = baseline_accuracy(pairs, folds, stream(self.seed, "floors"))
        worth = None
        if contrasts and judged:
            worth = worth_in_labels(readings, pairs, stream(self.seed, "worth"))
            below |= without_labels(readings, pairs, stream(self.seed, "principles"))
        reward = spec.fit(readings, pairs, rng=stream(self.seed, "fit"))
        words, warns = verdict(validated.accuracy, below) if judged else (UNKNOWN, False)
        floors = {name: estimate.as_dict() for name, estimate in below.items()}
        found = {"accuracy": validated.accuracy.as_dict(), "floors": floors, "verdict": words}
        reward.metadata.update(validated=found, **({"warning": words} if warns else {}))
        reward.save(self.out, model=recipe.model.path, dtype=trunk.dtype)
        (self.out / "recipe.toml").write_text(recipe.as_toml(), encoding="utf-8")
        beside_floors(console, "right on held-out prompts", validated.accuracy, below)
        console.print(f"{'warning: ' * warns}{words}")
        calibration = _tell(console, worth, reward.metadata.get("calibration"))
        if self.pairs is not None:
            tell_left_out(console, self.pairs, {**skipped, "pairs unscored": validated.unscored})
        read_at = ", ".join(map(str, reward.layers)) or "none"
        console.print(f"layers read: {read_at}, best first; reward saved to {self.out}")
        measured = []
        for bench, path in zip(benches, self.bench, strict=True):
            rng = stream(self.seed, "bench", str(path))
            measured.append(measure(console, reward.on(trunk), bench, path, rng=rng, train=pairs))
        return {
            **found,
            "unscored": validated.unscored,
            "layer": next(iter(reward.layers), None),
            "layers_kept": list(readings.layers),
            "dtype": trunk.dtype,
            "summary": reward.summary(),
            "reward": str(self.out),
            "pairs": judged,
            "contrasts": len(pairs) - judged,
            "worth_in_labels": None if worth is None else worth.as_dict(),
            "skipped": dict(skipped),
            **cuts,
            "selfcheck": checks,
            "calibration": calibration,
            "benches": measured,
        }

    def _recipe(self) -> tuple[Recipe, Comparisons]:
        """Return the recipe of the flags, and the contrasts of its principles."""
        table: dict[str, Any] = {"reward": {"kind": self.reward or "conservative"}}
        if self.reward is None and self.principles:
            table["reward"]["head"] = {"kind": "concept_prior"}
        elif self.reward is not None and self.reward not in REWARDS:
            table = read(self.reward)
        flags: list[tuple[str, Any]] = [("model.path", self.model), ("model.dtype", self.dtype)]
        flags.append(("data.principles", list(self.principles) or None))
        recipe = Recipe.of(merged(table, flags), changes=self.set)
        contrasts = contrasts_of(recipe.data.principles)
        if self.pairs is None and not contrasts:
            raise InputError("a reward needs pairs, or --principles", got="neither")
        return recipe, contrasts

    def _labelled(self, check: Any) -> Comparisons:
        if self.pairs is None:
            return Comparisons(())
        return Comparisons.load(self.pairs, strict=self.strict, check=check)

    def _folds(self, pairs: Comparisons, num: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return folds of the first `num` pairs; the others are learned from in each."""
        folds = make_folds(pairs.groups[:num], self.folds, stream(self.seed, "folds"))
        return [(np.append(train, np.arange(num, len(pairs))), test) for train, test in folds]


def _tell(console: Console, worth: Estimate | None, calibration: Any) -> Any:
    """Print what is known of the principles' worth and of the calibration, and return this."""
    if worth is not None:
        console.print(_worth(worth))
    if calibration is not None:
        console.print(_calibrated(calibration))
    return calibration


def _worth(worth: Estimate) -> str:
    """Return in words how many labels principles are worth; ends beyond what was tried are open."""
    if worth.value is None and worth.lower is None:
        return f"what the principles are worth in labels: not within the {worth.n} that there are"
    value, lower, upper = (
        "more than were tried" if end is None else f"{end:,.0f}"
        for end in (worth.value, worth.lower, worth.upper)
    )
    return f"the principles alone are worth {value} labels [{lower}, {upper}] to a plain head"


def _calibrated(calibration: dict[str, Any]) -> str:
    share = f"{100 * (1 - calibration['alpha']):.0f} % interval"
    if calibration["limit"] is None:
        return f"{share}: infinite, too few prompts to calibrate on"
    covered, decided = (Estimate(**calibration[name]) for name in ("coverage", "decided"))
    return f"{share}, out of fold\n  holds the verdict  {covered}\n  decides the pair   {decided}"
