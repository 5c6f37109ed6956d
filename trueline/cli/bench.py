"""What `fit` and `score` say of a reward on a bench: one table, one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trueline.data.comparisons import Comparisons
from trueline.protocols import Scorer
from trueline.records import Estimate
from trueline.rewards.benches import Bench, BenchResult, run_bench
from trueline.rng import Rng

__all__ = ["interval", "measure"]


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
        "items unscored and left out": found.num_unscored,
        "items left out: their prompts were trained on": found.num_trained_on,
        **{f"rows that are no items ({why})": count for why, count in bench.skipped.items()},
    }
    for what, count in left_out.items():
        if count:
            console.print(f"{count} {what}")
    return {"file": str(path), **asdict(found), "skipped": dict(bench.skipped)}


def interval(estimate: Estimate) -> str:
    """An estimate's interval in words of a table."""
    if estimate.lower is None or estimate.upper is None:
        return "not measured"
    return f"{estimate.lower:.3f} to {estimate.upper:.3f}"


def _table(found: BenchResult, title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    first = next(iter(found.figures.values()))
    floors = [name for name in ("bag_of_words", "longer", "chance") if name in first]
    table.add_column("", overflow="fold")
    for head in ("reward", "95 % interval", *(name.split("_")[-1] for name in floors), "items"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, columns in found.figures.items():
        reward, beaten = columns["reward"], [f"{columns[floor].value:.3f}" for floor in floors]
        cells = (f"{reward.value:.3f}", interval(reward), *beaten, str(reward.n))
        table.add_row(escape(name), *cells)
    return table
