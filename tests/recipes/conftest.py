"""Right working preferred to wrong, as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.material import right_over_wrong


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    right_over_wrong(24).save(file)
    return file


@pytest.fixture(scope="session")
def many_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "many.jsonl"
    right_over_wrong(200).save(file)
    return file
