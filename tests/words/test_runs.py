"""A run folder survives a kill, a full disk and a second process."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import trueline.atomic as atomic
from trueline.errors import DataError, InputError, InvalidExperiment, SetupError
from trueline.records import Estimate, Stance
from trueline.runs import RunFolder

HASHES = {"pairs.jsonl": "abc"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"seed": 3, "rounds": 2}, data_hashes=HASHES)


def reopen(run: RunFolder) -> RunFolder:
    run.close()
    return RunFolder.open(run.folder)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read_back(run: RunFolder) -> None:
    estimate = Estimate(0.5, 0.25, 0.75, 4)
    run.log({"round": 1, "gold": estimate, "kl": np.float32(0.5), "stance": Stance.FOR})
    run.finish({"rounds": [{"gold": estimate}], "n": np.arange(3), "run": run.folder})
    again = reopen(run)
    assert again.config == {"seed": 3, "rounds": 2}
    assert again.environment["seeds"] == {"seed": 3}
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
        with pytest.raises(DataError, match=r"finite.*value\.gold\.lower"):
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


def test_a_broken_line_in_the_middle_is_not_guessed_at(run: RunFolder) -> None:
    run.log({"round": 1})
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'nonsense\n{"round": 2}\n')
    run.close()
    with pytest.raises(SetupError, match=r"metrics\.jsonl:2"):
        RunFolder.open(run.folder)


def test_rewriting_drops_an_interrupted_round(run: RunFolder) -> None:
    for number in (1, 2, 2, 3):
        run.log({"round": number})
    run.rewrite_metrics(lambda row: row["round"] < 2)
    run.log({"round": 2})
    assert [row["round"] for row in reopen(run).metrics()] == [1, 2]


def fill(run: RunFolder, name: str, text: str) -> None:
    with run.checkpoint(name) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "weights.txt").write_text(text)


def stored(run: RunFolder, name: str) -> str:
    return (run.path(name) / "part" / "weights.txt").read_text()


def test_a_checkpoint_appears_whole_and_can_be_replaced(run: RunFolder) -> None:
    with run.checkpoint("round-1") as folder:
        (folder / "a").write_text("x")
        assert not run.has("round-1")
    assert run.has("round-1")
    fill(run, "latest", "old")
    fill(run, "latest", "new")
    assert stored(run, "latest") == "new"
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == ["latest", "round-1"]


def test_an_exception_inside_a_checkpoint_keeps_the_old_one(run: RunFolder) -> None:
    fill(run, "latest", "old")
    with pytest.raises(KeyboardInterrupt), run.checkpoint("latest") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert stored(run, "latest") == "old"
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


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b"])
def test_bad_checkpoint_names(run: RunFolder, name: str) -> None:
    with pytest.raises(InputError, match="checkpoint's name"):
        run.has(name)


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
    assert not run.has("latest")


def test_a_write_cut_short_by_a_real_limit_is_cut_off_again(tmp_path: Path) -> None:
    """A file-size limit makes the kernel itself write half a line and then refuse the rest."""
    folder = tmp_path / "run"
    with RunFolder.create(folder, {}, data_hashes={}) as run:
        run.log({"round": 1})
    before = everything(folder)
    code = f"""
import resource, signal
from trueline.runs import RunFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunFolder.open({str(folder)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
for act in (lambda: run.log({{"text": "x" * 5000}}), lambda: run.finish({{"text": "x" * 5000}})):
    try:
        act()
    except OSError as error:
        print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["File too large"] * 2
    assert everything(folder) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200


def test_another_format_is_refused(run: RunFolder) -> None:
    run.close()
    file = run.folder / "config.json"
    for text in ('{"format": 2}', "{}"):
        file.write_text(text)
        with pytest.raises(SetupError, match="must have format 1; got format"):
            RunFolder.open(run.folder)
    file.write_text("{")
    with pytest.raises(SetupError, match=r"config\.json must hold JSON"):
        RunFolder.open(run.folder)


def test_a_new_run_needs_an_empty_folder(run: RunFolder, tmp_path: Path) -> None:
    before = everything(run.folder)
    with pytest.raises(SetupError, match="only one process"):
        RunFolder.create(run.folder, {}, data_hashes={})
    run.close()
    with pytest.raises(SetupError, match="needs an empty folder"):
        RunFolder.create(run.folder, {}, data_hashes={})
    assert everything(run.folder) == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="a file in the way"):
        RunFolder.create(tmp_path / "file", {}, data_hashes={})


def test_a_creation_cut_short_can_be_begun_again(run: RunFolder) -> None:
    run.close()
    os.rename(run.folder / "config.json", run.folder / ".tmp-config.json-1")
    again = RunFolder.create(run.folder, {"seed": 4}, data_hashes={})
    assert again.config == {"seed": 4}
    assert not list(run.folder.glob(".tmp-*"))


def test_changed_data_are_refused(run: RunFolder) -> None:
    run.close()
    RunFolder.open(run.folder, data_hashes=HASHES).close()
    with pytest.raises(InvalidExperiment, match=r"changed: pairs\.jsonl"):
        RunFolder.open(run.folder, data_hashes={"pairs.jsonl": "xyz"})
    RunFolder.open(run.folder).close()


def test_a_view_reads_a_held_run_and_writes_nothing(run: RunFolder) -> None:
    run.log({"round": 1})
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"round": 2')
    before = everything(run.folder)
    view = RunFolder.view(run.folder)
    assert view.metrics() == [{"round": 1}]
    assert view.result is None
    for write in (lambda: view.log({}), lambda: view.finish({}), lambda: view.checkpoint("a")):
        with pytest.raises(SetupError, match="must be open"):
            write()
    assert everything(run.folder) == before


WORK = """
import sys
from trueline.runs import RunFolder
run = RunFolder.open(sys.argv[1])
done = int((run.path("latest") / "a").read_text()) + 1 if run.has("latest") else 0
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
                RunFolder.open(run.folder)
            time.sleep(rng.uniform(0.01, 0.15))
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
        with RunFolder.open(run.folder) as opened:
            numbers = [row["i"] for row in opened.metrics()]
            assert numbers == list(range(len(numbers)))
            if opened.has("latest"):
                a, b = ((opened.path("latest") / name).read_text() for name in "ab")
                assert a == b and int(a) in (len(numbers) - 1, len(numbers) - 2)
            names = {p.name for p in (run.folder / "checkpoints").glob("*")}
            assert names <= {"latest"}
