"""Two processes under `accelerate launch` are one process, with whole weights and with parted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models.conftest import make_chat_model
from tests.scale.job import work

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (
    "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no "
    "--main_process_port 0"
)
"""Port 0: any that is free."""


def launch(flags: str, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", flags, *LAUNCH.split()]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    how = {"cwd": ROOT, "env": env, "capture_output": True, "text": True, "timeout": timeout}
    return subprocess.run([*command, *arguments], **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    return work(folder, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module", params=["--multi_gpu", "--use_fsdp"])
def together(request, folder, tmp_path_factory):
    """Whether the weights were parted, and what each of the two processes saw and found."""
    out = tmp_path_factory.mktemp("together")
    ran = launch(request.param, "-m", "tests.scale.job", str(folder), str(out))
    assert ran.returncode == 0, ran.stderr
    seen = [dict(np.load(out / f"seen{rank}.npz")) for rank in range(2)]
    found = [json.loads((out / f"found{rank}.json").read_text()) for rank in range(2)]
    return request.param == "--use_fsdp", seen, found


def test_two_processes_see_what_one_sees(together, alone):
    _, seen, _ = together
    for mine in seen:
        assert set(mine) == set(alone)
        for name, expected in alone.items():
            if expected.dtype.kind == "U":
                assert mine[name].tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(mine[name], expected, atol=2e-4, err_msg=name)

    assert all(np.array_equal(seen[0][name], seen[1][name]) for name in alone)


def test_work_and_weights_are_parted(together):
    parted, _, (found, other) = together
    assert {**found, "told": None} == {**other, "told": None}
    # 63 rows in batches of at most 40 tokens: each process makes about half of the passes.
    first, second = found["passes"]
    assert abs(first - second) <= 2 and found["passes_again"] == [0, 0]
    held = (0.4, 0.8) if parted else (1.0, 1.0)
    assert all(held[0] <= share <= held[1] for share in found["held"])
    assert found["order"] == [0, 10, 20, 30, 40]
    assert found["once"][0] == 1 and found["added"] == [3.0, 3.0]


def test_an_error_in_one_is_raised_in_all(together):
    parted, _, both = together
    for found in both:
        once, *others = found["told"]
        assert once.startswith("ZeroDivisionError")
        words = ["a trunk whose weights are parted"] if parted else ["holds a lock", "item 2"]
        assert all(a in b for a, b in zip(words, others, strict=True))


DIES = """
import os
from trueline.models.distributed import Workers
workers = Workers()
workers.each(lambda: 1)
if workers.rank == 1:
    os._exit(3)
workers.once(lambda: 1)
workers.each(lambda: 1)
"""


def test_a_process_that_dies_takes_the_other_with_it(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    ran = launch("--multi_gpu", str(tmp_path / "dies.py"), timeout=100)
    assert ran.returncode != 0
