"""What `fit` and `score` say of a reward on a bench: one table, one JSON object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trueline.cli.common import reading_bar
from trueline.data.benches import Bench
from trueline.data.comparisons import Comparisons
from trueline.protocols import Scorer
from trueline.records import Estimate
from trueline.rewards.benches import BenchResult, run_bench

__all__ = ["interval", "measure"]

_FLOORS = {"bag_of_words": "words", "longer": "longer", "chance": "chance"}


def measure(
    console: Console,
    scorer: Scorer,
    bench: Bench,
    path: Path,
    *,
    rng: np.random.Generator,
    train: Comparisons | None = None,
) -> dict[str, Any]:
    """Run, print, and return what --json prints; `train`: what the scorer was fitted on."""
    with reading_bar(f"reading {path.name}") as progress:
        found = run_bench(scorer, bench, rng=rng, train=train, progress=progress)
    if found.figures:
        console.print(_table(found, path))
    for line in _remarks(found, bench):
        console.print(line)
    return {"file": str(path), **found.as_dict(), "skipped": dict(bench.skipped)}


def interval(estimate: Estimate) -> str:
    """An estimate's interval in words of a table."""
    if estimate.lower is None or estimate.upper is None:
        return "not measured"
    return f"{estimate.lower:.3f} to {estimate.upper:.3f}"


def _table(found: BenchResult, path: Path) -> Table:
    title = f"{escape(path.name)} ({found.kind})"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    floors = {n: w for n, w in _FLOORS.items() if n in found.figures[0].columns}
    table.add_column("", overflow="fold")
    for title in ("reward", "95 % interval", *floors.values(), "items"):
        table.add_column(title, justify="right", no_wrap=True)
    for figure in found.figures:
        reward = figure.columns["reward"]
        values = [_short(figure.columns[name]) for name in floors]
        table.add_row(escape(figure.name), _short(reward), interval(reward), *values, str(reward.n))
    return table


def _remarks(found: BenchResult, bench: Bench) -> list[str]:
    lines = []
    if found.num_unscored:
        lines.append(f"{found.num_unscored} of {found.num_items} items unscored and left out")
    if found.num_trained_on:
        lines.append(f"{found.num_trained_on} items left out: their prompts were trained on")
    if bench.skipped:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in bench.skipped.items())
        lines.append(f"rows that are no items: {reasons}")
    return lines


def _short(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:.3f}"
