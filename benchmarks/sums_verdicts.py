"""Verdicts of the world's raters on worked sums, split by split, kept between calls.

`draw` samples pairs of the base policy's answers on a split and has a population of raters compare
them, with critiques by the trunk or without; undecided verdicts are left out, and so are pairs of
equal text. Gold stands beside them for measurements alone. Used by `benchmarks.calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trueline.data.comparisons import Comparisons
from trueline.models.adapters import BasePolicy
from trueline.models.generate import complete
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.oversight.transcript import in_random_order
from trueline.records import Case, Comparison, Preference
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums, SumsCritic

__all__ = ["SHIFTS", "Source"]

SHIFTS = (
    *("eval", "longer_6", "longer_7", "longer_8", "longer_10"),
    *("larger", "unseen_order", "new_style", "factor"),
)
CHUNK = 400


@dataclass(frozen=True)
class Source:
    """Where verdicts come from: one trunk, one population, with or without critiques."""

    trunk: Trunk
    population: str = "default"
    assisted: bool = True
    kept: Path | None = None
    """Folder where verdicts and readings are kept between calls; drawn anew if None."""

    def draw(self, split: str, num: int, seed: int) -> tuple[Comparisons, Readings]:
        """`num` comparisons on prompts of a split, and the readings of their responses."""
        name = f"{self.population}-{'helped' if self.assisted else 'alone'}-{split}-{num}-{seed}"
        rows, table = (
            (self.kept or Path()) / f"{name}.{end}" for end in ("jsonl.gz", "safetensors")
        )
        if self.kept is not None and table.is_file():
            readings = Readings.load(table)
            if readings.trunk == self.trunk.fingerprint():
                return Comparisons.load(rows), readings
        pairs = Comparisons(tuple(self._compared(split, num, seed)))
        readings = self.trunk.read(pairs)
        if self.kept is not None:
            self.kept.mkdir(parents=True, exist_ok=True)
            pairs.save(rows)
            readings.save(table)
        return pairs, readings

    def _compared(self, split: str, num: int, seed: int) -> list[Comparison]:
        """Enough chunks of prompts, two samples each, each pair compared once."""
        world, rng = Sums(), stream(seed, "verdicts", self.population, split)
        raters = Raters.named(self.population)
        policy = BasePolicy(self.trunk, max_new_tokens=80)
        critic = SumsCritic(
            lambda prefixes: complete(
                self.trunk.model, self.trunk.codec, prefixes, max_new_tokens=80
            )
        )
        found: list[Comparison] = []
        while len(found) < num:
            prompts = world.prompts(96 if split == "factor" else CHUNK, rng, split)
            pairs = [
                (first, second)
                for first, second in policy.sample(prompts, num_samples=2, rng=rng)
                if first.text != second.text
            ][: 2 * (num - len(found))]
            flat = [response for pair in pairs for response in pair]
            notes = critic.critique(flat) if self.assisted else []
            for i, pair in enumerate(pairs):
                critiques = tuple(notes[2 * i : 2 * i + 2])
                verdict = in_random_order(
                    Case(first=pair[0], second=pair[1]), judge=raters, critiques=critiques, rng=rng
                )
                if verdict.preference is Preference.UNDECIDED:
                    continue
                first_wins = verdict.preference is Preference.FIRST
                chosen, rejected = pair if first_wins else pair[::-1]
                found.append(Comparison(chosen=chosen, rejected=rejected, rater=verdict.rater))
        return found[:num]
