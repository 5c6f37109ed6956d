"""A run folder survives a kill, a full disk and a second process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import trueline.atomic as atomic
from trueline.errors import DataError, InvalidExperiment, SetupError
from trueline.records import Estimate, Stance
from trueline.runs import RunFolder

CONFIG, HASHES = {"seed": 3, "rounds": 2}, {"pairs.jsonl": "abc"}


def opened(place: Path) -> RunFolder:
    return RunFolder.resume(place, CONFIG, data_hashes=HASHES)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return opened(tmp_path / "run")


def reopen(run: RunFolder) -> RunFolder:
    run.close()
    return opened(run.folder)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read_back(run: RunFolder) -> None:
    estimate = Estimate(0.5, 0.25, 0.75, 4)
    run.log({"round": 1, "gold": estimate, "kl": np.float32(0.5), "stance": Stance.FOR})
    run.finish({"rounds": [{"gold": estimate}], "n": np.arange(3), "run": run.folder})
    again = reopen(run)
    assert again.config == CONFIG
    assert again.environment["data_hashes"] == HASHES
    assert again.environment["packages"]["numpy"] == np.__version__
    gold = {"value": 0.5, "lower": 0.25, "upper": 0.75, "n": 4}
    assert again.metrics() == [{"round": 1, "gold": gold, "kl": 0.5, "stance": "for"}]
    assert again.result is not None
    assert again.result["n"] == [0, 1, 2]
    assert json.loads((run.folder / "config.json").read_text())["format"] == 1


def test_missing_numbers_are_none_never_nan(run: RunFolder) -> None:
    before = everything(run.folder)
    for bad in (float("nan"), np.float32("inf")):
        with pytest.raises(DataError, match="must be finite"):
            run.log({"gold": {"lower": bad}})
        with pytest.raises(DataError):
            run.finish({"gold": {"lower": bad}})
    with pytest.raises(DataError, match="plain data"):
        run.log({"model": object()})
    assert everything(run.folder) == before


@pytest.mark.parametrize("torn", [b'{"round": 3, "go', b'{"round": 3}', b"\0\0\0\0\n", b"\xff\xfe"])
def test_a_torn_last_line_is_dropped(run: RunFolder, torn: bytes) -> None:
    run.log({"round": 1})
    run.log({"round": 2})
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(torn)
    run = reopen(run)
    run.log({"round": 3})
    assert [row["round"] for row in reopen(run).metrics()] == [1, 2, 3]


def test_a_round_is_rewritten_and_a_broken_line_in_the_middle_not_guessed_at(
    run: RunFolder,
) -> None:
    for number in (1, 2, 2, 3):
        run.log({"round": number})
    run.rewrite_metrics(lambda row: row["round"] < 2)
    assert [row["round"] for row in run.metrics()] == [1]
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'nonsense\n{"round": 2}\n')
    with pytest.raises(SetupError, match=r"metrics\.jsonl:2"):
        reopen(run)


def fill(run: RunFolder, name: str, text: str) -> None:
    with run.checkpoint(name) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "weights.txt").write_text(text)


def stored(run: RunFolder, name: str) -> str:
    return (run.path(name) / "part" / "weights.txt").read_text()


def test_a_checkpoint_appears_whole_and_an_exception_keeps_the_old_one(run: RunFolder) -> None:
    with run.checkpoint("latest") as folder:
        (folder / "a").write_text("x")
        assert not run.path("latest").exists()
    fill(run, "latest", "new")
    with pytest.raises(KeyboardInterrupt), run.checkpoint("latest") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert stored(run, "latest") == "new"
    assert [p.name for p in (run.folder / "checkpoints").iterdir()] == ["latest"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_at_either_rename_leaves_a_whole_checkpoint(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """A kill runs no clean-up, so the code after the rename is cut out too."""
    fill(run, "latest", "old")
    calls = 0
    real = os.rename

    def killed(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            monkeypatch.setattr(os, "rename", lambda *_: None)
            monkeypatch.setattr(atomic, "_remove", lambda _: None)
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(run, "latest", "new")
    monkeypatch.undo()
    left = {p.name for p in (run.folder / "checkpoints").iterdir()}
    assert ".tmp-latest" in left
    run = reopen(run)
    assert stored(run, "latest") == "old"
    assert [p.name for p in (run.folder / "checkpoints").iterdir()] == ["latest"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_written(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run.log({"round": 1})
    run.finish({"rounds": 1})
    before = everything(run.folder)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left"):
        run.finish({"rounds": 2})
    with pytest.raises(OSError, match="No space left"):
        run.rewrite_metrics(lambda row: False)
    if name == "fsync":
        with pytest.raises(OSError, match="No space left"):
            run.log({"round": 2})
        with pytest.raises(OSError, match="No space left"):
            fill(run, "latest", "new")
    monkeypatch.undo()
    assert everything(run.folder) == before
    assert not run.path("latest").exists()


def test_what_is_no_run_of_this_kind_is_refused_and_left_alone(
    run: RunFolder, tmp_path: Path
) -> None:
    run.close()
    before = everything(run.folder)
    with pytest.raises(SetupError, match="another rounds in"):
        RunFolder.resume(run.folder, {"rounds": 3}, data_hashes=HASHES)
    with pytest.raises(InvalidExperiment, match=r"changed: pairs\.jsonl"):
        RunFolder.resume(run.folder, CONFIG, data_hashes={"pairs.jsonl": "xyz"})
    assert everything(run.folder) == before
    file = run.folder / "config.json"
    for text, wrong in (
        ('{"format": 2}', "must have format 1"),
        ("{", r"config\.json must hold JSON"),
    ):
        file.write_text(text)
        with pytest.raises(SetupError, match=wrong):
            opened(run.folder)
    file.rename(run.folder / "notes")
    with pytest.raises(SetupError, match="needs an empty folder"):
        opened(run.folder)
    with pytest.raises(SetupError, match="a file in the way"):
        opened(run.folder / "notes")


def test_a_creation_cut_short_can_be_begun_again(run: RunFolder) -> None:
    run.close()
    os.rename(run.folder / "config.json", run.folder / ".tmp-config.json-1")
    assert opened(run.folder).config == CONFIG
    assert not list(run.folder.glob(".tmp-*"))


def test_a_view_reads_a_held_run(run: RunFolder) -> None:
    run.log({"round": 1})
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"round": 2')
    before = everything(run.folder)
    view = RunFolder.view(run.folder)
    assert view.metrics() == [{"round": 1}] and view.result is None
    assert everything(run.folder) == before


WORK = """
import sys
from trueline.runs import RunFolder
run = RunFolder.resume(sys.argv[1], {}, data_hashes={"pairs.jsonl": "abc"})
latest = run.path("latest") / "a"
done = int(latest.read_text()) + 1 if latest.exists() else 0
run.rewrite_metrics(lambda row: row["i"] < done)
print("held", flush=True)
for i in range(done, 10**9):
    run.log({"i": i, "text": "x" * 3000})
    with run.checkpoint("latest") as folder:
        (folder / "a").write_text(str(i))
        (folder / "b").write_text(str(i))
"""


def test_two_processes_and_kills_at_random_moments(
    run: RunFolder, rng: np.random.Generator
) -> None:
    """While one process works the other is refused; killed, it leaves a folder that opens whole
    and lacks at most the last step."""
    run.close()
    for _ in range(6):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORK, str(run.folder)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "held\n"
            with pytest.raises(SetupError, match="only one process"):
                opened(run.folder)
            time.sleep(rng.uniform(0.01, 0.15))
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
        with opened(run.folder) as left:
            numbers = [row["i"] for row in left.metrics()]
            assert numbers == list(range(len(numbers)))
            if left.path("latest").exists():
                a, b = ((left.path("latest") / name).read_text() for name in "ab")
                assert a == b and int(a) in (len(numbers) - 1, len(numbers) - 2)
            names = {p.name for p in (run.folder / "checkpoints").glob("*")}
            assert names <= {"latest"}
