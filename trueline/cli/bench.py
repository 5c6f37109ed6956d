"""What `fit` and `score` say of a reward: beside its floors, on a bench, and what was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trueline.data.comparisons import Comparisons
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.progress import tell_left_out
from trueline.protocols import Scorer
from trueline.records import Estimate, Response
from trueline.rewards.benches import Bench, BenchResult, run_bench
from trueline.rng import Rng

__all__ = ["beside_floors", "measure", "same_as_read", "tell_cuts", "verdict"]


def measure(
    console: Console,
    scorer: Scorer,
    bench: Bench,
    path: Path,
    *,
    rng: Rng,
    train: Comparisons | None = None,
) -> dict[str, Any]:
    """Run, print, and return what --json prints; `train`: what the scorer was fitted on."""
    found = run_bench(scorer, bench, rng=rng, train=train)
    if found.figures:
        console.print(_table(found, f"{escape(path.name)} ({found.kind})"))
    left_out = {
        "items unscored": found.num_unscored,
        "items whose prompts were trained on": found.num_trained_on,
        **{f"rows that are no items ({why})": count for why, count in bench.skipped.items()},
    }
    tell_left_out(console, path, left_out)
    return {"file": str(path), **asdict(found), "skipped": dict(bench.skipped)}


def _interval(estimate: Estimate) -> str:
    """An estimate's interval in words of a table."""
    if estimate.lower is None or estimate.upper is None:
        return "not measured"
    return f"{estimate.lower:.3f} to {estimate.upper:.3f}"


def beside_floors(
    console: Console, title: str, accuracy: Estimate, floors: Mapping[str, Estimate]
) -> None:
    """Print an accuracy above its floors."""
    table = Table("", "accuracy", "95 % interval", "pairs", title=title)
    for name, e in {"reward": accuracy, **floors}.items():
        value = "not measured" if e.value is None else f"{e.value:.3f}"
        table.add_row(name.replace("_", " "), value, _interval(e), str(e.n))
    console.print(table)


def verdict(accuracy: Estimate, floors: Mapping[str, Estimate]) -> tuple[str, bool]:
    """Return in words how a reward stands to its floors, and whether that is a warning."""
    known = {name: e.value for name, e in floors.items() if e.value is not None}
    name, floor = max({"chance": 0.5, **known}.items(), key=lambda item: item[1])
    if accuracy.value is None:
        return "no held-out pair was scored: nothing is known of this reward", True
    said = f"{accuracy.value:.3f} of held-out pairs right, {floor:.3f} by {name.replace('_', ' ')}"
    if accuracy.upper is not None and accuracy.upper < floor:
        return f"the reward is below its floor ({said}): give more pairs or another model", True
    if accuracy.lower is not None and accuracy.lower > floor:
        return f"the reward is above its floors ({said})", False
    few = f"too few pairs to tell whether the reward is above its floors ({said})"
    return few, accuracy.value < floor


def same_as_read(trunk: Trunk, readings: Readings, pair: Sequence[Response]) -> bool:
    """Return whether two answers differ only past the trunk's limit, so that they score alike."""
    if not readings.truncated[readings.rows([answer.key for answer in pair])].all():
        return False
    first, second = trunk.codec.encode(pair)
    return first.ids == second.ids


def tell_cuts(console: Console, trunk: Trunk, readings: Readings, alike: int) -> dict[str, int]:
    """Print how many texts were too long for the trunk; return the counts."""
    found = {
        "answers_cut": int(readings.truncated.sum()),
        "prompts_cut": int(readings.prompt_cut.sum()),
        "pairs_alike": alike,
    }
    words = (
        "answers were read only up to there",
        "prompts lost their beginning",
        "pairs of answers differ only past it and are left out",
    )
    told = [f"{n} {said}" for n, said in zip(found.values(), words, strict=True) if n]
    if told:
        limit = f"the model takes {trunk.codec.max_tokens:,} tokens; of {len(readings)} texts"
        console.print(f"warning: {limit} {', '.join(told)}")
    return found


def _table(found: BenchResult, title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    first = next(iter(found.figures.values()))
    floors = [name for name in ("bag_of_words", "longer", "chance") if name in first]
    table.add_column("", overflow="fold")
    for head in ("reward", "95 % interval", *(name.split("_")[-1] for name in floors), "items"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, columns in found.figures.items():
        reward, beaten = columns["reward"], [f"{columns[floor].value:.3f}" for floor in floors]
        cells = (f"{reward.value:.3f}", _interval(reward), *beaten, str(reward.n))
        table.add_row(escape(name), *cells)
    return table
