"""`fit`, `score` and `export` on files of one's own, end to end."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.material import principle_in, right_over_wrong, verb
from trueline.cli import bench, fit, main
from trueline.data import Comparisons
from trueline.data.files import write_jsonl
from trueline.records import Estimate
from trueline.rewards.protocols import load_reward
from trueline.worlds.sums import trunk_path

MODEL = str(trunk_path())


def saved(path: Path, num: int, seed: int = 0) -> Path:
    right_over_wrong(num, seed).save(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred pairs, and a bench of forty items, ten of them on the same prompts."""
    made = tmp_path_factory.mktemp("fit")
    pairs = list({pair.prompt.text: pair for pair in right_over_wrong(160)}.values())[:133]
    Comparisons(tuple(pairs[:100])).save(made / "pairs.jsonl")
    items = []
    for i in range(90, 130):
        wrong = [pairs[i + j].rejected.text for j in range(3)]
        row = {"id": str(i), "prompt": pairs[i].prompt.text, "chosen": [pairs[i].chosen.text]}
        items.append({**row, "rejected": wrong, "subset": ("Focus", "Math")[i % 2]})
    write_jsonl(made / "four.jsonl", [{**item, "num_correct": 1} for item in items])
    return made


@pytest.fixture(scope="module")
def report(folder: Path, own_cache: Any) -> dict[str, Any]:
    """What `fit` prints on them."""
    command = ["fit", folder / "pairs.jsonl", "--model", MODEL, "--out", folder / "reward"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main([str(part) for part in (*command, "--bench", folder / "four.jsonl", "--json")])
    return dict(json.loads(printed.getvalue()))


@pytest.fixture
def fitted(report: dict[str, Any]) -> Path:
    return Path(report["reward"])


def test_fit_reports_accuracy_beside_its_floors_and_on_a_bench(report):
    assert report["accuracy"]["n"] == 100 and report["layer"] in range(5)
    assert report["accuracy"]["lower"] > 0.75 > report["floors"]["bag_of_words"]["value"]
    for floor in ("longer", "bag_of_words"):
        estimate = report["floors"][floor]
        assert estimate["lower"] <= estimate["value"] <= estimate["upper"]
    assert "above its floors" in report["verdict"]
    assert report["answers_cut"] == report["prompts_cut"] == report["pairs_alike"] == 0
    (found,) = report["benches"]
    assert found["kind"] == "rewardbench-2" and found["file"].endswith("four.jsonl")
    assert found["num_items"] == 30 and found["num_trained_on"] == 10
    average = found["figures"]["average"]
    assert average["reward"]["value"] > 0.6 > 0.45 > average["longer"]["value"]
    assert average["bag_of_words"]["n"] == average["chance"]["n"] == 30


def test_score_describes_both_answers_and_their_margin(fitted, tmp_path, capsys):
    file = saved(tmp_path / "fresh.jsonl", 30, seed=7)
    out = tmp_path / "scores.jsonl"
    found = verb(capsys, "score", fitted, file, "--out", out)
    assert found["rows"] == 30 and found["out"] == str(out)
    assert found["accuracy"]["value"] > 0.75 and found["unscored"] == 0
    for number, line in enumerate(out.read_text().splitlines(), start=1):
        row = json.loads(line)
        assert row["id"] == f"{file}:{number}" and len(row["prompt"]) == 32
        for side in ("chosen", "rejected"):
            assert row[side]["outcome"] == "scored"
            assert row[side]["lower"] < row[side]["mean"] and row[side]["std"] > 0
            assert row[side]["novelty"] > 0
        gap = row["chosen"]["mean"] - row["rejected"]["mean"]
        assert row["margin"]["mean"] == pytest.approx(gap, abs=1e-9)
        low, high = row["margin"]["interval"]
        assert row["margin"]["std"] > 0 and low < gap < high
        assert (row["win_probability"] > 0.5) == (gap > 0)
    assert found["floors"].keys() == {"longer", "bag_of_words"}


def test_what_is_past_the_limit_is_told_and_never_scored_alike(fitted, tmp_path, capsys):
    many = " ; ".join(["7 + 5 = 12"] * 300)
    rows = [
        {"id": "past", "prompt": "start 7", "chosen": f"{many} ; a", "rejected": f"{many} ; b"},
        {"id": "long", "prompt": f"start {many}", "chosen": "answer 7", "rejected": "answer 8"},
        {"id": 7, "prompt": "start 7", "chosen": "answer 7 sure", "rejected": "answer 8 sure"},
    ]
    write_jsonl(tmp_path / "long.jsonl", rows)
    out = tmp_path / "scores.jsonl"
    found = verb(capsys, "score", fitted, tmp_path / "long.jsonl", "--out", out)
    past, long, plain = map(json.loads, out.read_text().splitlines())
    assert [past["id"], long["id"], plain["id"]] == ["past", "long", 7]
    assert past["margin"] is None and "past the model's limit" in past["reason"]
    assert past["chosen"]["answer_cut"] and past["rejected"]["answer_cut"]
    assert long["margin"] and long["rejected"]["prompt_cut"] and not long["rejected"]["answer_cut"]
    assert not plain["chosen"]["answer_cut"] and plain["margin"]
    assert (found["answers_cut"], found["prompts_cut"], found["pairs_alike"]) == (2, 4, 1)
    assert found["accuracy"]["n"] == 2


def test_a_reward_below_its_floor_says_so_wherever_it_is_loaded(tmp_path, capsys, monkeypatch):
    floors = {"longer": Estimate(0.6, 0.0, 1.0, 9)}
    for value, lower, says in (
        (0.7, 0.65, "is above"),
        (0.7, 0.4, "too few pairs to tell"),
        (None, None, "no "),
    ):
        words, warns = bench.verdict(Estimate(value, lower, 0.8, 9), floors)
        assert says in words and warns == (value is None)
    words, warns = bench.verdict(Estimate(0.55, 0.52, 0.8, 9), floors)
    assert warns and "too few" in words
    words, warns = bench.verdict(Estimate(0.55, 0.52, 0.58, 9), floors)
    assert warns and "below its floor" in words and "0.600 by longer" in words
    monkeypatch.setattr(fit, "verdict", lambda *_: (words, True))
    pairs, out = saved(tmp_path / "pairs.jsonl", 12), tmp_path / "scores.jsonl"
    command = ("fit", pairs, "--model", MODEL, "--out", tmp_path / "reward", "--folds", 2)
    # And its trunk is loaded in the number type it was fitted in.
    found = verb(capsys, *command, "--dtype", "bfloat16")
    assert found["verdict"] == words and found["dtype"] == "bfloat16"
    assert verb(capsys, "score", tmp_path / "reward", pairs, "--out", out)["warning"] == words


def test_rows_without_preference_are_scored_in_order_and_have_no_accuracy(fitted, tmp_path, capsys):
    pairs, single, out = (tmp_path / f"{name}.jsonl" for name in ("pairs", "single", "scores"))
    made = right_over_wrong(6, seed=3)
    made.save(pairs)
    write_jsonl(single, [{"prompt": p.prompt.text, "response": p.chosen.text} for p in made])
    found = verb(capsys, "score", fitted, single, "--out", out)
    assert found["accuracy"] is None and found["rows"] == 6
    alone = [json.loads(line)["mean"] for line in out.read_text().splitlines()]
    verb(capsys, "score", fitted, pairs, "--out", out)
    paired = [json.loads(line)["chosen"]["mean"] for line in out.read_text().splitlines()]
    assert alone == pytest.approx(paired, abs=1e-6)


def test_a_calibrated_fit_tells_what_its_interval_holds_and_scores_with_it(tmp_path, capsys):
    pairs, out = saved(tmp_path / "pairs.jsonl", 80), tmp_path / "reward"
    changes = ("reward.head.kind=calibrated", "reward.head.head.layer=3")
    options = ("--folds", 2, *(part for change in changes for part in ("--set", change)))
    found = verb(capsys, "fit", pairs, "--model", MODEL, "--out", out, *options)
    told = found["calibration"]
    assert told["alpha"] == 0.1 and told["n"] == 80
    assert 0.8 < told["coverage"]["value"] <= 1.0 and 0 <= told["decided"]["value"] <= 1
    scores = tmp_path / "scores.jsonl"
    fresh = saved(tmp_path / "fresh.jsonl", 20, seed=7)
    assert verb(capsys, "score", out, fresh, "--out", scores)["accuracy"]["value"] > 0.7
    row = json.loads(scores.read_text().splitlines()[0])
    for told in (row["chosen"], row["margin"]):
        low, high = told["rater_interval"]
        assert low <= told["mean"] <= high

    reward = load_reward(out)
    reward.novelty_limit = 1.0
    reward.save(out, model=MODEL)
    found = verb(capsys, "score", out, fresh, "--out", scores)
    said = [json.loads(line) for line in scores.read_text().splitlines()]
    sides = [row[side]["outcome"] for row in said for side in ("chosen", "rejected")]
    assert found["unscored"] == sides.count("unscored") > 0, "what accuracy leaves out is counted"
    assert found["accuracy"]["n"] == sum(row["margin"] is not None for row in said) < 20


def test_an_exported_reward_goes_to_an_empty_folder_once(fitted, tmp_path, capsys):
    out = tmp_path / "exported"
    found = verb(capsys, "export", fitted, out)
    assert found == {"out": str(out), "head": "mean"}
    assert {"config.json", "model.safetensors", "reward_model.py"} <= {
        p.name for p in out.iterdir()
    }
    assert "empty" in verb(capsys, "export", fitted, out, code=2)


def test_a_reward_is_refused_beside_another_trunk(fitted, tmp_path, capsys, shared):
    file, out = saved(tmp_path / "pairs.jsonl", 5), tmp_path / "scores.jsonl"
    other = shared / "data" / "stories260K"
    command = ("score", fitted, file, "--out", out, "--model", other)
    assert "fitted on" in verb(capsys, *command, code=2)
    assert not out.exists()


def test_score_measures_on_a_bench(folder, fitted, capsys):
    four = folder / "four.jsonl"
    assert verb(capsys, "score", fitted, four, "--bench")["num_items"] == 40
    with pytest.raises(SystemExit):
        main(["score", str(fitted), str(four), "--bench"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "Focus" in out and "chance" in out and "words" not in out
    # Without --bench its answers are scored one by one.
    rows = folder / "scores.jsonl"
    scored = verb(capsys, "score", fitted, four, "--out", rows)
    assert scored["accuracy"]["n"] == 120, "each right answer against each wrong one"
    written = [json.loads(line)["responses"] for line in rows.read_text().splitlines()]
    assert [len(row) for row in written] == [4] * 40
    assert all(score["outcome"] == "scored" for row in written for score in row)
    assert "--bench" in verb(capsys, "score", fitted, four, code=2)


def test_what_is_no_bench_is_one_line(folder, capsys):
    write_jsonl(folder / "bad.jsonl", [{"prompt": "a", "response": "b"}])
    command = ("fit", folder / "pairs.jsonl", "--model", MODEL, "--bench", folder / "bad.jsonl")
    assert "bad.jsonl:1" in verb(capsys, *command, code=2)


def test_principles_do_without_labels_and_stand_beside_them(folder, tmp_path, capsys):
    own, out = principle_in(tmp_path / "right.toml"), tmp_path / "reward"
    command = ("--principles", own, "--model", MODEL, "--out", out)
    found = verb(capsys, "fit", *command)
    assert (found["pairs"], found["contrasts"]) == (0, 40) and "not known" in found["verdict"]
    assert list(load_reward(out).summary()["parts"]) == ["right"]
    assert found["worth_in_labels"] is None
    assert (
        verb(capsys, "score", out, folder / "pairs.jsonl", "--out", tmp_path / "s.jsonl")["rows"]
        == 100
    )
    again = verb(capsys, "fit", *command[2:], "--reward", out / "recipe.toml")
    assert again["accuracy"] == found["accuracy"]
    found = verb(capsys, "fit", folder / "pairs.jsonl", *command)
    assert (found["pairs"], found["contrasts"]) == (100, 40)
    assert found["accuracy"]["n"] == 100 and "labels" in load_reward(out).summary()["parts"]
    assert found["worth_in_labels"]["n"] == 100
    alone = found["floors"]["principles_alone"]
    assert 0.5 < alone["value"] < found["accuracy"]["value"] and alone["n"] == 100
    assert "--principles" in verb(capsys, "fit", "--model", MODEL, code=2)
    assert "harmless" in verb(capsys, "fit", "--principles", "kind", "--model", MODEL, code=2)
