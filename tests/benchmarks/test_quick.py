"""Tiny runs of the fast benchmarks, end to end, with what must come out even so."""

from __future__ import annotations

import pytest

from benchmarks import calibration, flipped_labels, gate_power, overoptimisation
from benchmarks.common import Cells, Measured


def values(measured: Measured) -> list[object]:
    """Return the rows' values; every row must be writable."""
    return [row.as_dict()["value"] for row in measured.rows]


def test_gate_power() -> None:
    measured = gate_power.measure(gate_power.Power(quick=True), Cells())
    false, power = (row.value for row in measured.rows)
    assert false.value <= 0.1 + 0.06 and power.value >= 0.75
    bets = measured.numbers["bets"]
    # More labels, and a better candidate, are accepted more often; the gate's bet is the best here.
    for bet in bets.values():
        assert bet["60 %"][80]["accepted"] < bet["80 %"][80]["accepted"] <= 1
        assert bet["70 %"][60]["accepted"] <= bet["70 %"][100]["accepted"]
    assert bets["this bet"]["70 %"][80]["accepted"] > bets["aGRAPA"]["70 %"][80]["accepted"]


def test_overoptimisation() -> None:
    measured = overoptimisation.measure(overoptimisation.Study(quick=True), Cells())
    heavy, control = measured.numbers["cells"]
    assert heavy["world"] == "heavy" and control["world"] == "gaussian"
    for cell in (heavy, control):
        oracle = cell["means"].pop("oracle")
        assert oracle == sorted(oracle)
        assert all(curve[-1] <= oracle[-1] for curve in cell["means"].values())
        assert abs(cell["means"]["ours"][0]) < 0.15  # one sample at random, in units of gold's sd
    assert control["kept"]["value"] > 0.9 and control["means"]["ours"][-1] > 1


def test_flipped_labels() -> None:
    options = flipped_labels.Flips(quick=True)
    measured = flipped_labels.measure(options, Cells())
    curves = measured.numbers["curves"]
    assert curves["oracle"] == sorted(curves["oracle"])
    assert curves["oracle"][0] == pytest.approx(curves["mean"][0])
    assert all(curves[name][-1] <= curves["oracle"][-1] for name in curves)


def test_calibration() -> None:
    measured = calibration.measure(calibration.Intervals(quick=True), Cells())
    here = measured.numbers["splits"]["same kind"]
    assert here["covered"]["n"] == 30 and 0.6 <= here["covered"]["value"] <= 1
    assert 0 <= here["decided"]["value"] <= 1
