"""Two processes under `accelerate launch` make the run that one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.loop.conftest import comparable
from trueline.cli import main
from trueline.cli.run import RunVerb
from trueline.data.store import LabelStore
from trueline.loop.resume import State
from trueline.runs import RunFolder

SMALL = RunVerb(
    rounds=1,
    labels=30,
    optimiser="grpo",
    protocol="direct",
    set=(
        "budget.prompts_per_round=16",
        "evaluate.prompts=2",
        "evaluate.curve_prompts=2",
        "evaluate.curve_samples=2",
        "evaluate.oracle_samples=2",
        "model.max_new_tokens=60",
        "policy.adamw.learning_rate=3e-3",
    ),
)


def launch(*command: str) -> subprocess.CompletedProcess[str]:
    # With --cpu, accelerate 1.15 starts one process whatever it is told.
    flags = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    flags += " --dynamo_backend no --main_process_port 0"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *flags.split()]
    return subprocess.run(
        [*launcher, "-m", "trueline", *command],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def close(a: Any, b: Any) -> bool:
    """Equal, floats within what the order of a sum may change."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return bool(b == (pytest.approx(a, rel=1e-3, abs=1e-4) if isinstance(a, float) else a))


def test_two_processes_make_the_run_of_one(tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(SMALL.checked().as_toml())
    done = launch("run", str(recipe), "--out", str(tmp_path / "two"), "--json")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.strip()]
    two = json.loads(line)
    replace(SMALL, out=tmp_path / "one").execute(Console(quiet=True))
    one = json.loads((tmp_path / "one" / "result.json").read_text())
    assert json.loads((tmp_path / "two" / "result.json").read_text()) == two
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    assert close(comparable(two), comparable(one))
    assert two["rounds"][0]["gate"]["decision"] == one["rounds"][0]["gate"]["decision"]
    asked = [LabelStore(tmp_path / name / "labels.sqlite") for name in ("one", "two")]
    first, second = (store.comparisons().rows for store in asked)
    assert first == second and asked[0].spent() == asked[1].spent()
    assert done.stderr.count("report: ") == 1, "one process speaks"
    assert State.rounds_of(RunFolder.view(tmp_path / "two")) == 1


def test_only_the_main_process_speaks(monkeypatch, capsys):
    command = ["run", "--labels", "3", "--rounds", "4"]
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == lines
