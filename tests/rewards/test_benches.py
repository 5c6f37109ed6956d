"""Benches: scorers whose right answers are known by hand get exactly those figures.

Rows follow the fields that RewardBench 1 and 2 and RM-Bench publish; the texts are ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueline import stats
from trueline.data import Comparisons
from trueline.errors import DataError, InvalidExperiment
from trueline.records import Comparison, Prompt, Response, Scores
from trueline.rewards.benches import Bench, BenchResult, load_bench, run_bench


@dataclass
class Rule:
    """A scorer that follows a rule on texts; those that hold "?" it leaves unscored."""

    value: Callable[[str], float]

    def score(self, prompts: Any, responses: Any) -> Scores:
        mean = np.array([float(self.value(text)) for text in responses])
        none = np.zeros(len(mean))
        scored = np.array(["?" not in text for text in responses])
        return Scores(np.where(scored, mean, np.nan), none, mean, none, scored)


LENGTH, CONSTANT, GOOD = Rule(len), Rule(lambda _: 1.0), Rule(lambda text: "good" in text)


def load(folder: Path, rows: list[dict[str, Any]]) -> Bench:
    path = folder / "bench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_bench(path)


def run(scorer: Any, rows: list[dict[str, Any]], folder: Path, **more: Any) -> BenchResult:
    return run_bench(scorer, load(folder, rows), rng=np.random.default_rng(0), **more)


def values(result: BenchResult, column: str = "reward") -> dict[str, float]:
    return {name: round(columns[column].value, 6) for name, columns in result.figures.items()}


def pair(subset: str, chosen: str, rejected: str, ask: str) -> dict[str, Any]:
    return {"prompt": ask, "chosen": chosen, "rejected": rejected, "subset": subset, "id": ask}


PAIRS = [
    pair("alpacaeval-easy", "longer", "short", "a"),
    pair("alpacaeval-easy", "no", "longer", "b"),
    pair("mt-bench-easy", "longer", "short", "c"),
    pair("math-prm", "even", "same", "d"),
    pair("hep-cpp", "longer", "short", "e"),
    pair("of our own", "no", "longer", "f"),
]


def test_rewardbench_by_hand(tmp_path: Path) -> None:
    found = run(LENGTH, PAIRS, tmp_path)
    chat = (100 * 0.5 + 28 * 1.0) / 128
    reasoning = (984 * 0.5 + 164 * 1.0) / (984 + 164)
    expected = {
        "alpacaeval-easy": 0.5, "mt-bench-easy": 1.0, "math-prm": 0.5, "hep-cpp": 1.0,
        "of our own": 0.0, "Chat": chat, "Reasoning": reasoning, "average": (chat + reasoning) / 2,
    }  # fmt: skip
    assert values(found) == {name: round(v, 6) for name, v in expected.items()}
    assert values(found, "longer") == values(found), "the length floor is the length scorer"
    assert found.figures["average"]["reward"].n == 5, "unknown subsets are in no section"


def four(subset: str, chosen: list[str], rejected: list[str], id: str) -> dict[str, Any]:
    row = {"id": id, "prompt": f"{subset} {id}", "chosen": chosen, "rejected": rejected}
    return {**row, "subset": subset, "total_completions": len(chosen) + len(rejected)}


BEST_OF_4 = [
    four("Focus", ["xxxx"], ["x", "xx", "xxx"], "1"),
    four("Focus", ["xxx"], ["xxx", "xx", "yyy"], "2"),
    four("Math", ["x"], ["xx", "yy", "xxx"], "3"),
]
TIES = [
    # spread 1, gap 2, reference gap 3
    four("Ties", ["x" * 5, "x" * 6], ["x" * 3, "xx"], "tied:7"),
    four("Ties", ["x" * 9], ["x" * 6, "x"], "ref:7"),
    # spread 3, gap 1, reference gap -1
    four("Ties", ["x" * 5, "x" * 8], ["x" * 4, "xx"], "tied:8"),
    four("Ties", ["x" * 4], ["x" * 5, "x"], "ref:8"),
]


def test_rewardbench_2_by_hand(tmp_path: Path) -> None:
    found = run(LENGTH, BEST_OF_4 + TIES, tmp_path)
    margin = (np.tanh(2 / 1 - 1) + np.tanh(-1 / 3 - 1)) / 2
    ties = 0.3 * 1.0 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin
    focus = (1 + 1 / 3) / 2
    expected = {"Focus": focus, "Math": 0.0, "Ties": ties, "average": (focus + 0 + ties) / 3}
    assert values(found) == {name: round(float(v), 6) for name, v in expected.items()}
    chance = values(found, "chance")
    assert all(0.1 < chance[name] < 0.4 for name in ("Focus", "Math")), chance
    assert values(run(LENGTH, [TIES[0], TIES[2]], tmp_path)) == {}, "no figure without references"


def styled(right: str, wrong: str, ask: str, domain: str = "chat") -> dict[str, Any]:
    """Three styles, each longer than the last."""
    styles = ("{}", "{} and more", "{} and **much more**")
    chosen, rejected = ([style.format(text) for style in styles] for text in (right, wrong))
    return {"id": ask, "prompt": ask, "domain": domain, "chosen": chosen, "rejected": rejected}


def test_rm_bench_by_hand(tmp_path: Path) -> None:
    # Alike in length within a style, and longer with every style.
    rows = [styled("good", "evil", "a"), styled("good", "evil", "b", "math")]
    found = values(run(LENGTH, rows, tmp_path))
    assert found["easy"] == 1.0 and found["normal"] == 0.5 and found["hard"] == 0.0
    assert found["style sensitivity"] == 1.0 and found["average"] == 0.5
    blind = values(run(GOOD, rows, tmp_path))
    assert blind["easy"] == blind["normal"] == blind["hard"] == 1.0
    assert blind["style sensitivity"] == 0.0
    # The public files have no domain but in their names.
    plain = [{k: v for k, v in row.items() if k != "domain"} for row in rows]
    (tmp_path / "safety-refuse_filtered.json").write_text(json.dumps(plain))
    named = load_bench(tmp_path / "safety-refuse_filtered.json")
    assert named.kind == "rm-bench" and {item.subset for item in named.items} == {"safety-refuse"}
    (tmp_path / "chat_filtered.json").write_text(json.dumps(plain))
    both = [item.subset for item in load_bench(tmp_path).items]
    assert both == len(plain) * ["chat"] + len(plain) * ["safety-refuse"]
    # Domains weigh alike, safety's halves as one.
    rows = [styled("good", "evil", ask) for ask in "abc"]
    rows += [styled("evil", "good", "d", "safety-refuse")]
    found = values(run(GOOD, [*rows, styled("good", "evil", "e", "safety-response")], tmp_path))
    assert found["chat"] == 1.0 and found["safety"] == 0.5 and found["average"] == 0.75


@pytest.mark.parametrize(
    ("rows", "share"),
    [(PAIRS, 0.5), ([styled("good", "evil", "a")], 0.5), (BEST_OF_4, 0.25), (BEST_OF_4 + TIES, 0)],
)
def test_chance_and_order(rows: Any, share: float, tmp_path: Path) -> None:
    """A constant scorer gets chance and no style; order of rows and answers is irrelevant."""
    for name, value in values(run(CONSTANT, rows, tmp_path)).items() if share else ():
        assert value == (0.0 if name == "style sensitivity" else share), name
    if "domain" not in rows[0]:
        turned = [
            {k: v[::-1] if isinstance(v, list) else v for k, v in row.items()} for row in rows[::-1]
        ]
        assert values(run(LENGTH, turned, tmp_path)) == values(run(LENGTH, rows, tmp_path))


def test_unscored_items_are_counted_and_in_no_figure(tmp_path: Path) -> None:
    rows = [pair("all", "longer", "short", ask) for ask in "abc"]
    rows.append(pair("all", "cannot tell?", "short", "d"))
    found = run(LENGTH, rows, tmp_path)
    assert found.num_items == 4 and found.num_unscored == 1
    figure = found.figures["all"]
    assert figure["reward"].value == 1.0 and figure["reward"].n == 3
    assert figure["longer"].n == 3, "the floors stand on the same items"
    for row in (rows[3], styled("good", "evil?", "a"), {**TIES[0], "chosen": ["?"]}):
        nothing = run(LENGTH, [row], tmp_path)
        assert nothing.figures == {} and nothing.num_unscored == 1


def test_intervals_go_by_dialogue_and_are_never_a_point(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [pair("all", "good" if rng.random() < 0.7 else "bad", "bad", f"{i}") for i in range(60)]
    once = run(GOOD, rows, tmp_path).figures["all"]["reward"]
    # Of one subset the interval is Student's.
    known = stats.mean([0.5 + ("good" in row["chosen"]) / 2 for row in rows])
    assert (once.lower, once.upper) == pytest.approx((known.lower, known.upper))
    tripled = [row | {"chosen": row["chosen"] + " " * k} for row in rows for k in range(3)]
    thrice = run(GOOD, tripled, tmp_path).figures["all"]["reward"]
    assert thrice.n == 180 and thrice.upper - thrice.lower == pytest.approx(once.upper - once.lower)
    perfect = run(GOOD, [pair("all", "good", "bad", f"{i}") for i in range(30)], tmp_path)
    assert perfect.figures["all"]["reward"].lower == pytest.approx(0.9)


def test_what_was_trained_on_is_left_out_and_words_are_a_floor(tmp_path: Path) -> None:
    taught = []
    for ask in (Prompt.of(f"train {i}") for i in range(40)):
        good, bad = (Response(prompt=ask, text=f"{w} {ask.text} words") for w in ("good", "bad"))
        taught.append(Comparison(chosen=good, rejected=bad))
    train = Comparisons(tuple(taught))
    rows = [pair("all", "a good one", "a bad one now", ask) for ask in ("train 3", "new", "other")]
    found = run(CONSTANT, rows, tmp_path, train=train)
    assert found.num_trained_on == 1 and found.num_items == 2
    assert values(found, "bag_of_words") == {"all": 1.0} and values(found, "longer") == {"all": 0.0}
    with pytest.raises(InvalidExperiment, match="not trained on"):
        run(CONSTANT, rows[:1], tmp_path, train=train)


def test_shapes_are_never_mixed_and_bad_rows_refused(tmp_path: Path) -> None:
    for rows, why in (
        (PAIRS + BEST_OF_4, r"bench.jsonl:7: rewardbench-2 after rewardbench"),
        ([styled("good", "evil", "a") | {"rejected": ["evil"]}], r"bench.jsonl:1"),
        ([{"prompt": "a", "response": "b"}], "chosen and rejected"),
    ):
        with pytest.raises(DataError, match=why):
            load(tmp_path, rows)
    start = "\n\nHuman: a\n\nAssistant:"
    bench = load(tmp_path, [PAIRS[0], {"chosen": f"{start} x", "rejected": start}, {"prompt": "a"}])
    assert len(bench.items) == 1 and sorted(bench.skipped.values()) == [1, 1]
    judged = {"question": "a", "response_A": "x", "response_B": "good", "label": "B>A"}
    told = {"input": "b", "output_1": "good", "output_2": "x", "label": 1}
    assert values(run(GOOD, [judged, told], tmp_path)) == {"all": 1.0}
