"""`fit --bench` and `score --bench`, and `score` on files that hold several judgements a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.material import right_over_wrong, verb
from trueline.cli import main
from trueline.data import Comparisons
from trueline.data.files import write_jsonl
from trueline.worlds.sums import trunk_path

MODEL = str(trunk_path())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A hundred pairs, and a bench of forty items, ten of them on the same prompts."""
    made = tmp_path_factory.mktemp("bench")
    pairs = list({pair.prompt.text: pair for pair in right_over_wrong(160)}.values())[:133]
    Comparisons(tuple(pairs[:100])).save(made / "pairs.jsonl")
    items = []
    for i in range(90, 130):
        wrong = [pairs[i + j].rejected.text for j in range(3)]
        row = {"id": str(i), "prompt": pairs[i].prompt.text, "chosen": [pairs[i].chosen.text]}
        items.append({**row, "rejected": wrong, "subset": ("Focus", "Math")[i % 2]})
    write_jsonl(made / "four.jsonl", [{**item, "num_correct": 1} for item in items])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUELINE_CACHE", str(made / "cache"))
        yield made


def test_fit_and_score_measure_on_a_bench(folder: Path, capsys: Any) -> None:
    four, reward = folder / "four.jsonl", folder / "reward"
    command = ("fit", folder / "pairs.jsonl", "--model", MODEL, "--out", reward, "--folds", 2)
    (found,) = verb(capsys, *command, "--bench", four)["benches"]
    assert found["kind"] == "rewardbench-2" and found["file"] == str(four)
    assert found["num_items"] == 30 and found["num_trained_on"] == 10
    average = found["figures"]["average"]
    assert average["reward"]["value"] > 0.6 > 0.45 > average["longer"]["value"]
    assert average["bag_of_words"]["n"] == average["chance"]["n"] == 30
    assert verb(capsys, "score", reward, four, "--bench")["num_items"] == 40
    with pytest.raises(SystemExit):
        main(["score", str(reward), str(four), "--bench"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "Focus" in out and "chance" in out and "words" not in out
    # Without --bench its answers are scored one by one.
    rows = folder / "scores.jsonl"
    scored = verb(capsys, "score", reward, four, "--out", rows)
    assert scored["accuracy"]["n"] == 120, "each right answer against each wrong one"
    written = [json.loads(line)["responses"] for line in rows.read_text().splitlines()]
    assert [len(row) for row in written] == [4] * 40
    assert all(score["outcome"] == "scored" for row in written for score in row)
    assert "--bench" in verb(capsys, "score", reward, four, code=2)


def test_what_is_no_bench_is_one_line(folder: Path, capsys: Any) -> None:
    write_jsonl(folder / "bad.jsonl", [{"prompt": "a", "response": "b"}])
    command = ("fit", folder / "pairs.jsonl", "--model", MODEL, "--bench", folder / "bad.jsonl")
    assert "bad.jsonl:1" in verb(capsys, *command, code=2)
