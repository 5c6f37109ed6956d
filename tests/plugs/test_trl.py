"""Our reward function as TRL calls it: by hand, and inside real short GRPO and RLOO runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trueline import plugs
from trueline.errors import DataError, InputError, JudgeError
from trueline.records import Prompt, Scores
from trueline.worlds.sums import Sums, trunk_path

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]


class ByLength:
    """Scores a text's number of letters, and cannot score every third text."""

    def __init__(self) -> None:
        self.seen: list[tuple[Prompt, str]] = []
        self.scores: list[Scores] = []

    def score(self, prompts: Any, responses: Any) -> Scores:
        self.seen += zip(prompts, responses, strict=True)
        scored = np.array([(len(text) + sum(map(ord, text))) % 3 > 0 for text in responses])
        reasons = {int(i): "odd" for i in np.flatnonzero(~scored)}
        size = np.where(scored, [float(len(text)) for text in responses], np.nan)
        ends = {"low": size - 9, "high": size + 9}
        other = (size * 0 + 0.5, size - 1, size / 4)
        self.scores.append(Scores(size, *other, scored, reasons, **ends))
        return self.scores[-1]


def call(reward: Any, prompts: list[Any], completions: list[Any], **more: Any) -> Any:
    more |= {"completion_ids": [[1]] * len(prompts), "trainer_state": object()}
    return reward(prompts=prompts, completions=completions, **more)


def test_messages_and_columns_arrive() -> None:
    scorer = ByLength()
    answer = [{"role": "assistant", "content": "4"}]
    steps = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]},
        {"role": "tool", "name": "add", "content": [{"type": "text", "text": "4"}]},
        {"role": "assistant", "content": "It is 4"},
    ]
    call(plugs.trl(scorer), [ASK, ASK], [answer, steps], answer=["4", "four"], environments=[0, 0])
    call(plugs.trl(scorer), ["\n\nHuman: Hello\n\nAssistant:"], [" Hi there"])
    (prompt, text), (_, joined), (dialogue, said) = scorer.seen
    assert (dialogue.text, dialogue.messages[0].role, said) == ("Hello", "user", "Hi there")
    assert [(m.role, m.content) for m in prompt.messages] == [tuple(m.values()) for m in ASK]
    assert (text, joined) == (
        "4",
        '<tool_call>\n{"name": "add"}\n</tool_call>\n\ntool: 4\n\nAssistant: It is 4',
    )
    assert [dict(p.meta) for p, _ in scorer.seen[:2]] == [{"answer": "4"}, {"answer": "four"}]


def test_many_batches_of_nothing_in_a_row_are_refused() -> None:
    reward = plugs.trl(ByLength(), max_blank=2)
    metrics: dict[str, float] = {}
    assert call(reward, ["?"], ["b"], log_metric=metrics.__setitem__) == [None]
    assert metrics == {"trueline_lower/unscored_frac": 1.0}
    call(reward, ["?"], ["a"])
    call(reward, ["?"], ["b"])
    with pytest.raises(JudgeError, match=r"none in 2 in a row \(odd\)"):
        call(reward, ["?"], ["b"])


def test_it_can_be_pickled_gives_bound_or_mean_and_refuses_what_makes_no_sense() -> None:
    reward = pickle.loads(pickle.dumps(plugs.trl(ByLength(), name="taste")))
    assert reward.__name__ == "taste" and call(reward, ["?"] * 2, ["a b", "d f"]) == [2.0, None]
    assert call(plugs.trl(ByLength(), use="mean"), ["?"] * 2, ["a b", "d f"]) == [3.0, None]
    with pytest.raises(InputError, match="use must be"):
        plugs.trl(ByLength(), use="upper")
    seen = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
    with pytest.raises(DataError, match="must be text; got image"):
        call(plugs.trl(ByLength()), [seen], [[{"role": "assistant", "content": "4"}]])


@pytest.mark.parametrize("trainer", ["GRPOTrainer", "RLOOTrainer"])
def test_inside_a_real_run(trainer: str, tmp_path: Path) -> None:
    scorer = ByLength()
    run, asked = short_run(trainer, plugs.trl(scorer), tmp_path)
    assert run.reward_func_names == ["trueline_lower"]
    steps = [line for line in run.state.log_history if "reward" in line]
    assert len(steps) == len(scorer.scores) == 2
    assert {p.meta["answer"] for p, _ in scorer.seen} <= set("abcd")
    assert {p.text for p, _ in scorer.seen} <= {p.text for p in asked}
    for step, (line, scores) in enumerate(zip(steps, scorer.scores, strict=True), 1):
        ok = scores.scored
        # Some of each, or the test would show nothing.
        assert 0 < ok.sum() < len(ok) == 8
        lower = scores.lower[ok]
        logged = {name.removeprefix("trueline_lower/"): value for name, value in line.items()}
        expected = {"rewards/trueline_lower/mean": lower, "reward": lower, "unscored_frac": ~ok}
        expected |= {"std": scores.std[ok], "novelty": scores.novelty[ok]}
        expected |= {"caution": scores.mean[ok] - lower}
        for name, values in expected.items():
            assert logged[name] == pytest.approx(values.mean(), abs=1e-5), name
        assert all(np.isfinite(x) for x in line.values() if isinstance(x, float))
        if trainer == "GRPOTrainer":
            check_table(tmp_path / "completions" / f"completions_{step:05d}.parquet", scores)
    assert all(weight.isfinite().all() for weight in run.model.parameters())


def check_table(file: Path, scores: Scores) -> None:
    """TRL's own table of completions (GRPO alone writes one)."""
    table, ok = pd.read_parquet(file), scores.scored
    np.testing.assert_allclose(table["trueline_lower"][ok], scores.lower[ok], rtol=1e-5)
    assert table["trueline_lower"][~ok].isna().all()
    np.testing.assert_array_equal(table["trueline_lower/std"][ok], scores.std[ok])
    assert "trueline_lower/high" in table
    advantage = table["advantage"].to_numpy()
    assert (advantage[~ok] == 0).all() and (advantage[ok] != 0).any()


def short_run(trainer: str, reward: Any, folder: Path) -> tuple[Any, list[Prompt]]:
    """Two steps of TRL's trainer on the embedded model, and the prompts it had."""
    trl = pytest.importorskip("trl", reason="needs the extra: pip install 'trueline[trl]'")
    datasets = pytest.importorskip("datasets", reason="comes with trl")
    asked = Sums().prompts(4, np.random.default_rng(0))
    chats = [[{"role": m.role, "content": m.content} for m in p.messages] for p in asked]
    rows = {"prompt": chats, "answer": list("abcd")}
    size = {"max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 4}
    size |= {"max_completion_length": 12, "logging_steps": 1, "num_completions_to_print": 1}
    quiet = {"log_completions": True, "save_strategy": "no", "report_to": [], "use_cpu": True}
    config_type = getattr(trl, trainer.replace("Trainer", "Config"))
    config = config_type(output_dir=str(folder), bf16=False, seed=0, **size, **quiet)
    run = getattr(trl, trainer)(
        model=str(trunk_path()),
        reward_funcs=reward,
        args=config,
        train_dataset=datasets.Dataset.from_dict(rows),
    )
    run.train()
    return run, asked


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("trueline.plugs", {"torch", "trl", "inspect_ai"}),
        ("trueline.cli", {"pandas", "sklearn", "pyarrow", "fastapi", "trl"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
