"""The comparison with TRL in miniature: both arms see the same prompts and make as many tokens,
each second is booked once, and the ratios are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

from benchmarks import trl_grpo, trl_ours, trl_theirs
from benchmarks.trl_clock import PHASES, Clock, memory_mb
from benchmarks.trl_setting import Setting
from trueline.data.comparisons import Comparisons
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream

SETTING, STEPS = Setting("random", 2, 4, 6, 12, 8, 2), 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SETTING.make(tmp_path_factory.mktemp("trl"), width=64, layers=2)


def test_both_arms_see_the_same_prompts_and_make_as_many_tokens(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {"ours": [], "trl": []}
    plain: Any = LoraPolicy.roll

    def roll(policy: LoraPolicy, prompts: Any, **kwargs: Any) -> Any:
        seen["ours"] += [p.text for p in prompts]
        return plain(policy, prompts, **kwargs)

    monkeypatch.setattr(LoraPolicy, "roll", roll)
    trunk, ours, theirs = Trunk.load(folder / "model"), Clock(), Clock()
    pairs = Comparisons.load(folder / "train.jsonl.gz")
    reward: Any = Bayesian(layer=2).fit(trunk.read(pairs), pairs, rng=stream(0, "fit"))
    trl_ours.improve(SETTING, trunk, reward, ours, num_steps=STEPS)

    choice = trl_theirs.Choice(micro=4)
    model = trl_theirs.classifier(folder / "model")
    trainer: Any = trl_theirs.grpo_trainer(SETTING, folder, choice, theirs, STEPS, model)
    drawn = trainer._generate

    def generate(prompts: Any) -> Any:
        seen["trl"] += [p[0]["content"] for p in prompts[:: SETTING.num_samples]]
        return drawn(prompts)

    trainer._generate = generate
    trainer.train()

    assert sorted(seen["ours"]) == sorted(seen["trl"])
    assert len(seen["ours"]) == STEPS * SETTING.num_prompts
    tokens = STEPS * SETTING.rows * SETTING.max_new_tokens
    assert ours.tokens == theirs.tokens == tokens
    for clock in (ours, theirs):
        steps = clock.steps()
        assert len(steps) == STEPS and len(clock.steps(warm=1)) == STEPS - 1
        for step in steps:
            assert step["tokens"] == tokens / STEPS
            assert step["sampling"] > 0 and step["reward"] > 0 and step["update"] > 0
            assert np.isclose(sum(step[n] for n in (*PHASES, "update")), step["wall_s"])
    assert memory_mb()["peak"] >= memory_mb()["now"] * 0.9 > 50


def test_ratios_are_of_neighbours_and_medians() -> None:
    found = trl_grpo.ratio([4.0, 9.0, 8.0], [2.0, 3.0, 1.0])
    assert found == {"value": 3.0, "lower": 2.0, "upper": 8.0, "n": 3}


def run(arm: str, what: str, seconds: float, **rest: Any) -> dict[str, Any]:
    step = {name: 0.0 for name in PHASES} | {"update": seconds, "tokens": 10.0}
    return {
        "arm": arm,
        "what": what,
        "threads": 1,
        "imported": 100.0,
        "fit": {"wall_s": 2 * seconds},
        "improve": {"wall_s": 3 * seconds},
        "memory": {"peak": 100.0 + 100 * seconds},
        "accuracy": 0.5,
        "grpo_steps": [{**step, "wall_s": seconds, "cpu_s": seconds}] * 2,
        **rest,
    }


def test_a_summary_compares_steps_rounds_and_peaks() -> None:
    runs = [run("ours", "round", 1.0), run("trl", "round", 6.0), run("ours", "steps", 1.0)]
    runs.append(run("trl", "steps", 4.0, variant="as compared"))
    runs.append(run("trl", "steps", 3.0, variant="all weights"))
    found = trl_grpo.summary(runs, {"ours": 1, "trl": 1})
    assert found["step"]["value"] == found["round"]["value"] == 6.0
    assert found["peak"] == 200 / 500 and found["peak_above_imports"] == 100 / 400
    assert found["where_s"]["trl"]["fit"] == 12.0
    lines = trl_grpo.headlines("embedded", found)
    assert [line["met"] for line in lines] == [True, True, True, None, True]
    assert "all weights" in lines[1]["what"] and lines[1]["value"] == 3.0
