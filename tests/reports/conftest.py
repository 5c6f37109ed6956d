"""Made-up run folders for the tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.reports.report_runs import write


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run("good") writes that scenario into a fresh folder and returns it."""

    def make(scenario: str, name: str | None = None, seed: int = 0) -> Path:
        folder = tmp_path / (name or scenario)
        return write(folder, scenario, np.random.default_rng(1), seed=seed)

    return make
