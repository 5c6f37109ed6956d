"""Wrong input: one clear line, exit code 2 (1 for a full disk), nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.material import right_over_wrong, verb
from trueline.data.prompts import load_prompts
from trueline.recipes import Recipe
from trueline.recipes.runs import make_task
from trueline.recipes.session import Session
from trueline.worlds.sums import trunk_path


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    right_over_wrong(12).save(tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", b""),
        ("one_class.jsonl", b'{"prompt": "a", "completion": "b", "label": true}\n' * 2),
        ("not_utf8.jsonl", b'{"prompt": "a", "chosen": "\xff\xfe", "rejected": "c"}\n'),
        ("nan.jsonl", b'{"prompt": "a", "chosen": NaN, "rejected": "c"}\n'),
        ("only_prompts.jsonl", b'{"prompt": "a"}\n'),
        ("pairs.xlsx", b"PK"),
    ],
)
def test_a_bad_preference_file_is_one_line_and_leaves_nothing(name, content, tmp_path, capsys):
    file = tmp_path / name
    file.write_bytes(content)
    command = ("fit", file, "--model", trunk_path(), "--out", tmp_path / "reward")
    assert name in verb(capsys, *command, code=2)
    assert files(tmp_path) == {name}


def test_a_layer_or_a_model_that_is_not_there_is_one_line(pairs, tmp_path, capsys):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(trunk_path() / name, bare / name)
    for model, options, says in (
        (trunk_path(), ("--set", "reward.head.layer=99"), "got 99; choose from 0, 1, 2, 3, 4"),
        (bare, (), "tokenizer"),
        (tmp_path / "nowhere", (), "nowhere"),
    ):
        command = ("fit", pairs, "--model", model, "--out", tmp_path / "reward", *options)
        assert says in verb(capsys, *command, code=2)
    assert not (tmp_path / "reward").exists()


def test_a_run_folder_of_another_version_is_left_alone(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"format": 99}))
    (tmp_path / "environment.json").write_text("{}")
    before = files(tmp_path)
    assert "99" in verb(capsys, "run", "--out", tmp_path, code=2)
    assert files(tmp_path) - before <= {".lock"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--model", "x"), "--prompts"),
        (("--rater", "nobody"), "nobody"),
        (("--from", "nowhere"), "must hold config.json"),
        (("--labels", "3", "--rounds", "5"), "--labels"),
        (("--protocol", "debate", "--helper", "none"), "debate"),
        (("--protocol", "recursive", "--helper", "raised", "--labels", "100"), "raising helpers"),
        (("--set", "budget.alpha=2"), "alpha"),
    ],
)
def test_options_that_do_not_fit_together(options, word, tmp_path, capsys):
    assert word in verb(capsys, "run", "--out", tmp_path / "run", *options, code=2)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    "command",
    [
        "run --out FILE/run", "judge --out FILE/judged", "recipe FILE/mine.toml",
        "fit PAIRS --model MODEL --out FILE/reward", "fit FOLDER --model MODEL", "report FILE",
        "fit PAIRS --model MODEL --reward FILE/x.toml", "score FOLDER PAIRS",
        "fit LOOP --model MODEL", "export FOLDER FILE/x",
        "run --prompts FOLDER --model MODEL --rater rule:joy --out FILE/x",
    ],
)  # fmt: skip
def test_a_wrong_path_is_one_line_whatever_is_wrong_with_it(command, pairs, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    places = {"FILE": "file", "FOLDER": "folder", "LOOP": "loop.jsonl", "PAIRS": "pairs.jsonl"}
    before = files(tmp_path)
    for name, place in places.items():
        command = command.replace(name, str(tmp_path / place))
    verb(capsys, *command.replace("MODEL", str(trunk_path())).split(), code=2)
    assert files(tmp_path) == before


def test_a_full_disk_is_exit_code_one_and_nothing_half_written(
    pairs, tmp_path, capsys, monkeypatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    command = ("fit", pairs, "--model", trunk_path(), "--folds", 3, "--out", tmp_path / "reward")
    assert "No space left" in verb(capsys, *command, code=1)
    assert files(tmp_path) == before


def test_rows_that_the_chat_template_refuses_are_counted(pairs, tmp_path, capsys, caplog):
    model, out = tmp_path / "strict", tmp_path / "scores.jsonl"
    shutil.copytree(trunk_path(), model)
    template = model / "chat_template.jinja"
    refuse = "{% if messages | length % 2 %}{{ raise_exception('must alternate') }}{% endif %}"
    template.write_text(refuse + template.read_text())
    turns = [{"role": "user", "content": word} for word in ("start 7", "start 8")]
    refused = {"prompt": turns, "chosen": "answer 7", "rejected": "answer 8"}
    file = tmp_path / "some.jsonl"
    file.write_text(json.dumps(refused) + "\n" + pairs.read_text())
    command = ("fit", file, "--model", model, "--out", tmp_path / "reward", "--folds", 2)
    line = verb(capsys, *command, "--strict", code=2)
    assert "some.jsonl:1" in line and "alternate" in line
    why = {"the model's chat template must accept the prompt's turns": 1}
    right_over_wrong(9, 7).save(bench := tmp_path / "bench.jsonl")
    bench.write_text(json.dumps(refused) + "\n" + bench.read_text())
    found = verb(capsys, *command, "--bench", bench)
    assert found["pairs"] == 12 and found["skipped"] == found["benches"][0]["skipped"] == why
    found = verb(capsys, "score", tmp_path / "reward", file, "--out", out)
    first, *rest = map(json.loads, out.read_text().splitlines())
    assert found["skipped"] == why and first["outcome"] == "unscored" and first["reason"] in why
    assert len(rest) == 12 and all(row["margin"] for row in rest)
    assert verb(capsys, "score", tmp_path / "reward", file, "--bench")["skipped"] == why
    data, judge = {"prompts": str(file), "comparisons": str(file)}, {"kind": "rule", "name": "joy"}
    task = make_task(Recipe.of({"data": data, "judge": judge}), Session(model=str(model)))
    assert len(task.prompts) == len(load_prompts(pairs)) and "1 rows left out" in caplog.text
    assert len(task.comparisons) == 12 and f"1 {next(iter(why))}" in " ".join(
        capsys.readouterr().out.split()
    )
