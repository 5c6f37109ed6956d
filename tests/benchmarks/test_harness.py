"""The harness: cells are measured once, results are written whole, tables say what results say."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import common, table
from benchmarks.common import ROOT, Cells, Measured, Options, Row, median_ratio
from trueline.records import Estimate

HELPERS = {"__init__", "common", "material", "plot", "rivals", "table", "trl_arms", "trl_rival"}
NAMES = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - HELPERS)


def test_only_cells_that_this_commit_has_not_measured_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.cells.jsonl"
    first = Cells(path).get(lambda: [1 / 3], seed=0)
    again = Cells(path)
    assert again.get(lambda: [0.0], seed=0) == first and again.get(lambda: [2.0], seed=1) == [2.0]
    monkeypatch.setattr(common, "commit", lambda: "another")
    assert Cells(path).get(lambda: 2, seed=0) == 2


@dataclass(frozen=True, kw_only=True)
class Tiny(Options):
    """Options of a benchmark made up here."""

    num: int = 3


def measure(options: Tiny, cells: Cells) -> Measured:
    """Measure nothing, twice."""
    total = sum(cells.get(lambda s=s: s * options.num, seed=s) for s in options.seeds)
    rows = [Row.least("a sum", Estimate(total, total - 1, total + 1, 3), 1)]
    return Measured(rows, {"total": total})


def test_a_result_holds_command_commit_machine_rows_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made_up.json"
    argv = ["made_up.py", "--seeds", "1", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    common.run(measure, Tiny)
    record = json.loads(out.read_text())
    assert record["command"] == "python -m benchmarks.made_up --seeds 1 2 --out FOLDER"
    assert record["total"] == 9 and record["seeds"] == [1, 2] and record["commit"]
    (row,) = record["headlines"]
    assert row["met"] and row["bar"] == "≥ 1" and row["value"]["lower"] == 8
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["made_up.py", "--quick"])
    common.run(measure, Tiny)
    assert [file.name for file in tmp_path.iterdir()] == ["made_up.json"], "quick writes nothing"


def test_bars_are_met_by_intervals_and_ratios_are_of_neighbours() -> None:
    rows = [
        (Row.positive("x", Estimate(1.0, 0.1, 2.0, 5)), True),
        (Row.positive("x", Estimate(1.0, -0.1, 2.0, 5)), False),
        (Row.positive("x", Estimate(1.0, None, None, 1)), False),
        (Row.least("x", 0.8, 0.8), True),
        (Row.most("x", 300.1, 300), False),
        (Row("x", "3 of 3"), None),
    ]
    assert [row.as_dict()["met"] for row, _ in rows] == [met for _, met in rows]
    ratio = median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    assert (ratio.value, ratio.lower, ratio.upper, ratio.n) == (2.0, 1.0, 3.0, 3)


def test_the_tables_show_results_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    rows = [
        Row("first", Estimate(0.5, 0.25, 0.75, 8), "≥ 0.8", False),
        Row("second", 3.0),
    ]
    record = {"command": "python -m benchmarks.serving", "commit": "abc"}
    record["headlines"] = [row.as_dict() for row in rows]  # type: ignore[assignment]
    (tmp_path / "results" / "serving.json").write_text(json.dumps(record))
    monkeypatch.setattr(table, "ROOT", tmp_path)
    shown, page = table.table(), table.everything()
    assert "0.500 (0.250 to 0.750, n=8)" in shown and "second" not in shown
    assert shown.count("python -m benchmarks") == 1 and "1 bars" in shown
    assert "**missed**" in page and "| second | 3.000 |" in page and "commit abc" in page


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_on_the_harness_and_has_words_for_a_newcomer(name: str) -> None:
    pytest.importorskip("psutil")
    module = importlib.import_module(f"benchmarks.{name}")
    assert f"python -m benchmarks.{name}" in module.__doc__ and name in table.MEASURED
    assert list(inspect.signature(module.measure).parameters) == ["options", "cells"]
    own = [kind for kind in vars(module).values() if isinstance(kind, type)]
    assert any(issubclass(kind, Options) and kind is not Options for kind in own)
