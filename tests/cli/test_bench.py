"""`fit --bench` and `score --bench`, and `score` on files that hold several judgements a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueline.cli import main
from trueline.worlds.sums import Sums, trunk_path
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.writers import Writer, write

MODEL = str(trunk_path())


def call(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    return captured.out, captured.err


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    prompts = list({p.text: p for p in Sums().prompts(160, rng)}.values())
    rows = []
    for i, prompt in enumerate(prompts[:130]):
        task = Problem.read(prompt.text)
        right, *wrong = (
            render(write(task, Writer(wrong_step=w), rng)) for w in (0.0, 0.9, 0.9, 0.9)
        )
        row = {"id": str(i), "prompt": prompt.text, "chosen": [right], "rejected": wrong}
        rows.append(row | {"subset": "Math" if i % 2 else "Focus", "num_correct": 1})
    pairs = [
        {"prompt": r["prompt"], "chosen": r["chosen"][0], "rejected": r["rejected"][0]}
        for r in rows[:100]
    ]
    put(made / "pairs.jsonl", pairs)
    put(made / "four.jsonl", rows[90:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUELINE_CACHE", str(made / "cache"))
        yield made


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Path:
    with pytest.raises(SystemExit) as ended:
        main(["fit", f"{folder / 'pairs.jsonl'}", "--model", MODEL, "--out", f"{folder / 'r'}"])
    assert ended.value.code == 0
    return folder / "r"


def test_fit_measures_on_benches_it_has_not_seen(folder: Path, capsys: Any) -> None:
    four = folder / "four.jsonl"
    command = ("fit", folder / "pairs.jsonl", "--model", MODEL, "--out", folder / "again", "--json")
    out, _ = call(capsys, 0, *command, "--folds", 2, "--bench", four)
    (found,) = json.loads(out)["benches"]
    assert found["kind"] == "rewardbench-2" and found["file"] == str(four)
    assert found["num_items"] == 30 and found["num_trained_on"] == 10
    average = found["figures"]["average"]
    assert average["reward"]["value"] > 0.6 > 0.45 > average["longer"]["value"]
    assert average["bag_of_words"]["n"] == average["chance"]["n"] == 30


def test_score_prints_a_table_of_80_columns(fitted: Path, folder: Path, capsys: Any) -> None:
    out, _ = call(capsys, 0, "score", fitted, folder / "four.jsonl", "--bench")
    assert max(map(len, out.splitlines())) <= 80
    assert "Focus" in out and "chance" in out and "words" not in out
    text, said = call(capsys, 0, "score", fitted, folder / "four.jsonl", "--bench", "--json")
    assert json.loads(text)["num_items"] == 40 and "Focus" in said
    # Without --bench its answers are scored one by one.
    rows = folder / "scores.jsonl"
    text, _ = call(capsys, 0, "score", fitted, folder / "four.jsonl", "--out", rows, "--json")
    assert json.loads(text)["accuracy"]["n"] == 120, "each right answer against each wrong one"
    written = [json.loads(line)["responses"] for line in rows.read_text().splitlines()]
    assert [len(row) for row in written] == [4] * 40
    assert all(score["outcome"] == "scored" for row in written for score in row)


def test_what_cannot_be_is_one_line(fitted: Path, folder: Path, capsys: Any) -> None:
    bad = put(folder / "bad.jsonl", [{"prompt": "a", "response": "b"}])
    for arguments, word in (
        (("score", fitted, folder / "four.jsonl"), "--bench"),
        (("score", fitted, bad, "--bench"), "bad.jsonl:1"),
        (("fit", folder / "pairs.jsonl", "--model", MODEL, "--bench", bad), "bad.jsonl:1"),
    ):
        _, error = call(capsys, 2, *arguments, "--json")
        (line,) = error.strip().splitlines()
        assert line.startswith("trueline: ") and word in line
