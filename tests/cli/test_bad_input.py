"""Wrong input: one clear line, exit code 2 (1 for a full disk), nothing half-written."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from trueline.cli import main
from trueline.worlds.sums import trunk_path

GOOD = [{"prompt": f"question {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(12)]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("trueline: ")
    return lines[0]


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


CASES = {
    "empty": b"",
    "one_class": b'{"prompt": "a", "completion": "b", "label": true}\n'
    b'{"prompt": "a", "completion": "c", "label": true}\n',
    "no_shared_prompt": b'{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", '
    b'"rejected": "\\n\\nHuman: c\\n\\nAssistant: d"}\n',
    "not_utf8": b'{"prompt": "a", "chosen": "\xff\xfe", "rejected": "c"}\n',
    "nan": b'{"prompt": "a", "chosen": NaN, "rejected": "c"}\n',
    "null": b'{"prompt": "a", "chosen": null, "rejected": "c"}\n',
    "not_an_object": b"[1, 2]\n",
    "broken": b'{"prompt": "a", "chosen"\n',
    "only_prompts": b'{"prompt": "a"}\n',
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_preference_file_is_one_line_and_leaves_nothing(name, tmp_path, capsys):
    file = tmp_path / f"{name}.jsonl"
    file.write_bytes(CASES[name])
    before = files(tmp_path)
    assert run("fit", file, "--model", trunk_path(), "--out", tmp_path / "reward", "--json") == 2
    assert name in one_line(capsys)
    assert files(tmp_path) == before


def test_a_truncated_gzip_an_unknown_ending_and_a_missing_file(tmp_path, capsys):
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in GOOD).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pairs.xlsx").write_bytes(b"PK")
    for name in ("cut.jsonl.gz", "pairs.xlsx", "missing.jsonl"):
        assert run("fit", tmp_path / name, "--model", trunk_path(), "--json") == 2
        assert name in one_line(capsys)


def test_an_unknown_layer_names_those_there_are(tmp_path, capsys):
    file = write(tmp_path / "pairs.jsonl", GOOD)
    out = tmp_path / "reward"
    options = ("--set", "reward.head.layer=99", "--out", out, "--json")
    assert run("fit", file, "--model", trunk_path(), *options) == 2
    assert "got 99; choose from 0, 1, 2, 3, 4" in one_line(capsys)
    assert not out.exists()


def test_a_model_folder_without_tokenizer_and_one_that_is_not_there(tmp_path, capsys):
    file = write(tmp_path / "pairs.jsonl", GOOD)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(trunk_path() / name, bare / name)
    assert run("fit", file, "--model", bare, "--json") == 2
    assert "tokenizer" in one_line(capsys)
    assert run("fit", file, "--model", tmp_path / "nowhere", "--json") == 2
    one_line(capsys)


def test_a_run_folder_of_another_version_or_of_another_configuration(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"format": 99}))
    (folder / "environment.json").write_text("{}")
    before = files(folder)
    assert run("run", "--out", folder, "--json") == 2
    assert "99" in one_line(capsys)
    assert files(folder) - before <= {".lock"}
    assert run("report", folder, "--json") == 2
    one_line(capsys)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--model", "x"), "--prompts"),
        (("--rater", "nobody"), "nobody"),
        (("--labels", "3", "--rounds", "5"), "--labels"),
        (("--helper", "endpoint:http://x"), "URL#MODEL"),
        (("--protocol", "debate", "--helper", "none"), "debate"),
        (("--protocol", "recursive", "--helper", "raised", "--labels", "100"), "raising helpers"),
        (("--set", "reward.k=-1"), "reward: k"),
        (("--set", "budget.alpha=2"), "alpha"),
        (("--set", "budget.alpha=x"), "budget.alpha"),
        (("--optimiser", "ppo"), "policy.kind"),
        (("nowhere.toml",), "nowhere.toml"),
    ],
)
def test_options_that_do_not_fit_together(options, word, tmp_path, capsys):
    assert run("run", "--out", tmp_path / "run", *options, "--json") == 2
    assert word in one_line(capsys)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_full_disk_is_exit_code_one_and_nothing_half_written(tmp_path, capsys, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = write(tmp_path / "pairs.jsonl", GOOD)
    before = files(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "reward"
    assert run("fit", file, "--model", trunk_path(), "--folds", 3, "--out", out, "--json") == 1
    assert "No space left" in capsys.readouterr().err
    assert files(tmp_path) == before
