"""A run whose folder lost something says so before it goes on, and how to go on."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.loop.conftest import QUICK, comparable, make_sums_task, run
from trueline.data.store import LabelStore
from trueline.errors import SetupError
from trueline.loop.task import Task
from trueline.models.trunk import Trunk
from trueline.raters.people import Queue
from trueline.runs import RunFolder
from trueline.worlds.sums import trunk_path


@pytest.fixture(scope="module")
def sums_task() -> Task:
    return make_sums_task(Trunk.load(str(trunk_path())))


@pytest.fixture(scope="module")
def done(sums_task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run that is over but for its result, so that going on with it reads all that it holds."""
    place = tmp_path_factory.mktemp("runs") / "done"
    result = run(QUICK, sums_task, place)
    (place / "result.json").unlink()
    return place, comparable(result)


@pytest.fixture
def place(done: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(done[0], tmp_path / "run"))


def refused(task: Task, place: Path) -> str:
    with pytest.raises(SetupError) as refusal:
        run(QUICK, task, place)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def emptied(place: Path) -> None:
    for file in place.glob("labels.sqlite*"):
        file.unlink()
    LabelStore(place / "labels.sqlite").close()


def without_some(place: Path) -> None:
    with LabelStore(place / "labels.sqlite") as store, store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM gate_labels WHERE position > 1")


def cut(name: str, by: int = 1) -> Any:
    def spoil(place: Path) -> None:
        lines = (place / name).read_bytes().splitlines(keepends=True)
        (place / name).write_bytes(b"".join(lines[:-by]))

    return spoil


LOST = {
    "no store": lambda place: [file.unlink() for file in place.glob("labels.sqlite*")],
    "an empty store": emptied,
    "a shorter store": without_some,
    "no log": lambda place: (place / "metrics.jsonl").unlink(),
    "a shorter log": cut("metrics.jsonl"),
}


@pytest.mark.parametrize("how", LOST)
def test_what_is_lost_of_labels_and_log_stops_a_run_in_one_line(
    how: str, place: Path, sums_task: Task
) -> None:
    LOST[how](place)
    said = refused(sums_task, place)
    assert ("labels '" in said) == ("store" in how) and "restore" in said


PARTS = ["state.json", "working/adapter_model.safetensors", "working/trueline.json"]
PARTS += ["reward/card.json", "reward/reward.safetensors", "readings.safetensors"]


@pytest.mark.parametrize("part", PARTS)
def test_of_a_torn_checkpoint_the_round_before_is_offered(
    part: str, place: Path, sums_task: Task, done: tuple[Path, Any]
) -> None:
    last = place / "checkpoints" / "round-2"
    file = last / part
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = refused(sums_task, place)
    assert f"{last}" in said and "goes on from round 1" in said
    if part == PARTS[0]:
        shutil.rmtree(last)
        assert comparable(run(QUICK, sums_task, place)) == done[1]


def test_labels_are_nobody_elses_business(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LabelStore(tmp_path / "labels.sqlite").spent()
        Queue(tmp_path / "queue.sqlite").oldest()
        with RunFolder.resume(tmp_path / "run", {}) as run, run.checkpoint("round-1"):
            pass
        assert stat.S_IMODE((tmp_path / "run" / "checkpoints").stat().st_mode) == 0o700
    finally:
        os.umask(before)
    files = sorted(file for file in tmp_path.iterdir() if file.is_file())
    assert len(files) >= 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
