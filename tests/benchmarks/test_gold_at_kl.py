"""Gold against KL: who is ahead is measured where both have been, peaks are not picked and measured
on the same prompts, and a second call makes no cell again."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import gold_at_kl
from benchmarks.gold_at_kl import Arguments, Cells, against, choose, headlines
from benchmarks.gold_at_kl_arms import ARMS, Plan, Setting
from benchmarks.gold_at_kl_curves import Curve, ahead, ends_ahead, kept, mean_curve


def _curve(kl: list[float], gold: list[float]) -> Curve:
    return Curve(np.array(kl), np.repeat(np.array(gold)[:, None], 4, axis=1))


RIVAL = _curve([0, 1, 2, 4], [1.0, 2.0, 1.5, 0.5])
OURS = _curve([0, 2, 3], [1.0, 2.2, 2.2])


def test_ahead_at_equal_kl_and_nowhere_beyond_what_both_reached() -> None:
    told = ahead([OURS, OURS], [RIVAL, RIVAL])
    assert told["kl_of_rivals_peak"] == [1.0, 1.0]
    first, *_, last = told["equal"]
    assert first["kl"] == [1.0, 1.0] and last["kl"] == [3.0, 3.0]
    assert first["by_seed"] == pytest.approx([-0.4, -0.4])
    assert last["by_seed"] == pytest.approx([1.2, 1.2])
    assert told["within"][-1]["kl"] == [4.0, 4.0]
    assert told["within"][-1]["by_seed"] == pytest.approx([1.7, 1.7])
    assert ends_ahead([OURS], [RIVAL]).value == pytest.approx(1.7)


def test_a_run_that_never_reaches_the_rivals_peak_is_not_compared() -> None:
    short = _curve([0, 0.5], [1.0, 3.0])
    told = ahead([short, OURS], [RIVAL, RIVAL])
    assert all(len(row["by_seed"]) == 1 for row in told["equal"])
    assert told["within"][0]["by_seed"] == pytest.approx([1.0, -0.4])


def test_curves_are_read_along_kl_in_whatever_order_they_were_made() -> None:
    there_and_back = _curve([0, 3, 2], [1.0, 2.0, 3.0])
    assert there_and_back.at(2.5) == pytest.approx(2.5)


def test_a_flat_noisy_run_keeps_all_of_its_peak(rng: np.random.Generator) -> None:
    """Picking and measuring the peak on the same prompts would find a loss where there is none."""
    curves = [Curve(np.arange(8.0), 2 + 0.5 * rng.standard_normal((8, 50))) for _ in range(800)]
    naive = np.mean([c.means[-1] / c.means.max() for c in curves])
    fair = kept(curves)["mean"]
    assert naive < 0.97 and abs(fair["value"] - 1) < 0.01
    assert kept([RIVAL])["least"] == pytest.approx(0.25)


def _cell(arm: str, seed: int, setting: Setting, ends: float) -> dict[str, object]:
    points = [{"kl": kl, "gold": [1.0, g]} for kl, g in ((0.0, 1.0), (1.0, 2.0), (2.0, ends))]
    asked = {"arm": arm, "seed": seed, "setting": vars(setting), "plan": vars(Plan())}
    return {"asked": asked, "labels": 300, "points": points}


def test_cells_are_resumed_chosen_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Setting(lr=1e-3), Setting(lr=1e-2)
    monkeypatch.setattr(gold_at_kl, "GRID", {arm: (slow, fast) for arm in ARMS})
    rows = [_cell(arm, 100, s, ends) for arm in ARMS for s, ends in ((slow, 2.5), (fast, 1.0))]
    rows += [_cell(arm, 0, slow, 1.0 if arm.startswith("trl") else 2.5) for arm in ARMS]
    kept_in = tmp_path / "cells.jsonl"
    kept_in.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = Cells(Arguments(cells=kept_in, again=True))
    found = {}
    for arm in ARMS:
        setting, tried = choose(cells, arm, (100,))
        assert setting == slow and len(tried) == 2
        assert cells.get(arm, setting, 1) is None
        (cell,) = cells.all(arm, setting, (0, 1))
        found[arm] = {0: Curve.of(cell)}
    numbers = {
        "against": {rival: against(rival, found) for rival in gold_at_kl.RIVALS},
        "kept": {arm: kept(list(rows.values())) for arm, rows in found.items()},
    }
    lines = {line["what"]: line["met"] for line in headlines(numbers)}
    assert [met for what, met in lines.items() if ", ours" in what] == [False] * 6 + [True]
    found["ours"] = {0: _curve([0, 0.1], [1.0, 1.5])}
    numbers["against"] = {"trl-rm": against("trl-rm", found)}
    assert headlines(numbers)[0]["value"] == "no seed gets there"
    gold_at_kl.plot(found, tmp_path / "curves.svg")
    picture = ElementTree.parse(tmp_path / "curves.svg")
    assert len(picture.findall(".//{*}polyline")) == 2 * len(ARMS)
    assert mean_curve([OURS, OURS])["gold"] == [1.0, 2.2, 2.2]
