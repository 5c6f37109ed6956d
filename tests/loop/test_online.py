"""The loop on the embedded world, small: what it writes, what it promises, and that a kill at any
moment changes nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueline.data.store import LabelStore
from trueline.errors import DataError
from trueline.loop.task import Task, purpose_of
from trueline.records import Prompt
from trueline.worlds.sums import Sums

SMALL = [
    "--rounds",
    "2",
    "--labels",
    "120",
    "--prompts-per-round",
    "16",
    "--measured-prompts",
    "16",
    "--threads",
    "1",
    "--json",
]


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trueline", "run", "--out", str(out), *SMALL, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    lines = [line for line in out.splitlines() if line.strip()]
    assert len(lines) == 1, "--json prints exactly one object"
    result: dict[str, Any] = json.loads(lines[0])
    return result


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """The result without times and paths."""
    kept = json.loads(json.dumps(result))
    for name in ("wall_s", "run"):
        kept.pop(name)
    for row in kept["rounds"]:
        row["reward"].pop("fit_s")
    return dict(kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, finish(start(folder))


def test_the_result_holds_what_a_reader_needs(whole):
    _, result = whole
    assert [row["round"] for row in result["rounds"]] == [1, 2]
    for row in result["rounds"]:
        for name in ("gold", "proxy", "proxy_lower", "kl", "doubt", "novelty", "length"):
            assert row[name]["n"] == 16
            assert row[name]["lower"] <= row[name]["value"] <= row[name]["upper"]
        assert row["gate"]["decision"] in ("accept", "hold", "roll_back")
        assert row["gate"]["threshold"] == pytest.approx(20)
    assert result["rounds"][0]["accuracy"] is None, "nothing was known before the first round"
    second = result["rounds"][1]
    assert 0 < second["accuracy"]["n"] <= second["labels"]["learn"]
    assert result["gold_base"]["value"] < result["gold_oracle"]["value"] <= 2.7
    accepted = [r["round"] for r in result["rounds"] if r["gate"]["decision"] == "accept"]
    assert result["certified_round"] == (accepted[-1] if accepted else 0)


def test_the_budget_is_kept_and_every_label_is_in_the_store(whole):
    folder, result = whole
    assert result["labels_used"] == sum(result["labels"].values()) <= 120
    store = LabelStore(folder / "labels.sqlite")
    assert store.spent() == {**result["labels"], "control": 0}
    by_round = [row["labels"] for row in result["rounds"]]
    assert {k: sum(row[k] for row in by_round) for k in ("learn", "gate")} == result["labels"]


def test_the_store_learns_from_learning_prompts_only(whole):
    folder, _ = whole
    learned = LabelStore(folder / "labels.sqlite").comparisons()
    assert {purpose_of(c.prompt) for c in learned} == {"learn"}


def test_a_finished_run_is_not_run_again(whole):
    folder, result = whole
    before = (folder / "result.json").stat().st_mtime_ns
    assert finish(start(folder)) == json.loads((folder / "result.json").read_text()) == result
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_the_report_of_a_run_is_one_file_with_its_numbers(whole):
    folder, result = whole
    page = (folder / "report.html").read_text()
    assert f"{result['gold_final']['value']:.2f}" in page
    assert "Time of judging" in page and "with help" in page


def labels_in(folder: Path) -> int:
    """Labels that a run has stored so far, seen from outside."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/labels.sqlite?mode=ro", uri=True)) as store:
            tables = ("learn_labels", "gate_labels")
            return sum(store.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables)
    except sqlite3.OperationalError:
        return 0  # not there yet, or being made


@pytest.mark.parametrize("labels", [20, 90])
def test_a_killed_run_comes_to_the_same_result(labels, whole, tmp_path):
    _, expected = whole
    process = start(tmp_path / "killed")
    while labels_in(tmp_path / "killed") < labels:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "result.json").exists()
    assert comparable(finish(start(tmp_path / "killed"))) == comparable(expected)


def test_another_configuration_is_not_resumed(whole):
    folder, _ = whole
    process = start(folder, "--seed", "5")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "another seed" in err


def task(prompts: Any) -> Task:
    return Task(trunk=None, prompts=prompts, rater=None)  # type: ignore[arg-type]


def test_no_prompt_serves_two_purposes():
    world = Sums()
    ours = task(lambda n, rng: world.prompts(n, rng))
    rng = np.random.default_rng(0)
    drawn = {p: {x.key for x in ours.draw(60, p, rng)} for p in ("measure", "gate", "learn")}
    assert all(len(keys) == 60 for keys in drawn.values())
    assert not drawn["measure"] & drawn["gate"]
    assert not drawn["measure"] & drawn["learn"]
    assert not drawn["gate"] & drawn["learn"]


def test_a_collection_gives_what_it_holds_and_says_when_a_part_is_empty():
    few = task([Prompt.of(f"prompt {i}") for i in range(50)])
    rng = np.random.default_rng(0)
    assert 0 < len(few.draw(1000, "measure", rng)) < 50
    with pytest.raises(DataError, match="give more prompts"):
        task([Prompt.of("only one")] * 3).draw(
            1, {"learn": "gate"}.get(purpose_of(Prompt.of("only one")), "learn"), rng
        )
