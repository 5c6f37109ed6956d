"""The benchmarks' own estimators against oracles, and the rivals against what they reduce to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks import gold_at_kl, kill_resume
from benchmarks.gold_at_kl import Curve, ahead
from benchmarks.overoptimisation import Draw, best_of
from benchmarks.rivals import STRENGTHS, bootstrap_counts, fit_members
from trueline import stats


@pytest.fixture
def draw() -> Draw:
    return Draw.make("heavy", 3, 0.25, 150, 400)


@pytest.mark.parametrize("name", ["UWO-20", "mahalanobis", "winsorised", "WCO-20"])
def test_without_its_strength_a_rival_is_the_point_estimate(draw: Draw, name: str) -> None:
    rival = draw.rival(0)
    none = {"winsorised": np.inf}.get(name, 0.0)
    point = rival.rewards("point", 10.0, 0.0)
    same = [np.allclose(*both) for both in zip(rival.rewards(name, 10.0, none), point, strict=True)]
    # Means and minima of 20 bootstrap members are not the point; no penalty is.
    assert all(same) == (name in ("mahalanobis", "winsorised"))


def test_penalties_only_ever_lower(draw: Draw) -> None:
    rival = draw.rival(0)
    for name in ("UWO-20", "mahalanobis"):
        low, high = STRENGTHS[name][0], STRENGTHS[name][-1]
        plain, careful = (rival.rewards(name, 10.0, s)[0] for s in (low, high))
        assert (careful <= plain + 1e-9).all() and (careful < plain - 1e-3).any()


def test_members_are_weighted_logistic_fits(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((80, 4)) + 0.4
    counts = bootstrap_counts(80, 3, rng)
    weights = fit_members(rows, counts, (2.0, 20.0))[2.0]
    both, labels = np.concatenate([rows, -rows]), np.repeat([1, 0], 80)
    for k in range(3):
        model = LogisticRegression(C=1 / 4, fit_intercept=False, tol=1e-10, max_iter=1000)
        model.fit(both, labels, sample_weight=np.tile(counts[:, k], 2))
        np.testing.assert_allclose(weights[:, k], model.coef_[0], atol=1e-4)


def test_best_of_n_is_the_package_s_estimator(rng: np.random.Generator) -> None:
    score, gold = rng.standard_normal(50), rng.standard_normal(50)
    ours = best_of(score, gold, [1, 4, 32])
    expected = [stats.best_of_n(score[None], gold[None], n)[0] for n in (1, 4, 32)]
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_ahead_is_measured_along_kl_from_the_rivals_peak() -> None:
    rival = Curve(np.array([0.0, 1, 3]), np.array([1.0, 2, 1]))
    ours = Curve(np.array([0.0, 2]), np.array([1.0, 3]))
    # At KL 1, 1.5, 2 ours has 2, 2.5, 3; beyond its largest KL it stays at 3.
    np.testing.assert_allclose(ahead(ours, rival), [0, 0.75, 1.5, 1.75, 2.0])
    assert set(gold_at_kl.ARMS) == {"ours", "TRL", "TRL, ours"}


def test_a_kill_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; "
    child += "time.sleep(60)'], start_new_session=True); time.sleep(60)"
    arm = kill_resume.Arm("best_of_n", launched=False)
    monkeypatch.setattr(kill_resume.Arm, "command", lambda *_: [sys.executable, "-c", child])
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    assert arm.killed(tmp_path, 2.0)
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    monkeypatch.setattr(kill_resume.Arm, "command", lambda *_: [sys.executable, "-c", ""])
    assert not arm.killed(tmp_path, 30.0)


def test_only_times_and_places_are_left_out_of_a_comparison() -> None:
    text = '{"wall_s": 1, "run": "a", "x": 2, "rounds": [{"reward": {"fit_s": 3, "n": 4}}]}'
    assert kill_resume.comparable(text) == {"x": 2, "rounds": [{"reward": {"n": 4}}]}
