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
from trueline.models.trunk import Trunk
from trueline.records import Comparison, Prompt, Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.worlds.sums import Sums, trunk_path

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]


class ByLength:
    """Scores a text's number of words; unscored where its last letter has an odd code."""

    def __init__(self) -> None:
        self.seen: list[tuple[Prompt, str]] = []

    def score(self, prompts: Any, responses: Any) -> Scores:
        self.seen += zip(prompts, responses, strict=True)
        words = np.array([float(len(text.split())) for text in responses])
        scored = np.array([self.can(text) for text in responses])
        reasons = {int(i): "odd" for i in np.flatnonzero(~scored)}
        nothing = np.where(scored, 0.0, np.nan)
        return Scores(
            words + nothing, nothing + 0.5, words - 1 + nothing, nothing + 2.0, scored, reasons
        )

    @staticmethod
    def can(text: str) -> bool:
        return not text or ord(text[-1]) % 2 == 0


def call(reward: Any, prompts: list[Any], completions: list[Any], **more: Any) -> Any:
    return reward(
        prompts=prompts,
        completions=completions,
        completion_ids=[[1]] * len(prompts),
        trainer_state=object(),
        **more,
    )


def test_lower_bound_or_mean_and_none_where_it_is_unscored() -> None:
    texts = ["a b", "a b c", "d f"]
    assert call(plugs.trl(ByLength()), ["?"] * 3, texts) == [1.0, None, 1.0]
    assert call(plugs.trl(ByLength(), use="mean"), ["?"] * 3, texts) == [2.0, None, 2.0]


def test_messages_and_columns_arrive() -> None:
    scorer = ByLength()
    answer = [{"role": "assistant", "content": "4"}]
    steps = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]},
        {"role": "tool", "name": "add", "content": [{"type": "text", "text": "4"}]},
        {"role": "assistant", "content": "It is 4"},
    ]
    call(plugs.trl(scorer), [ASK, ASK], [answer, steps], answer=["4", "four"], environments=[0, 0])
    (prompt, text), (_, joined) = scorer.seen
    assert [(m.role, m.content) for m in prompt.messages] == [tuple(m.values()) for m in ASK]
    assert (text, joined) == ("4", '{"name": "add"}\n\ntool: 4\n\nAssistant: It is 4')
    assert [dict(p.meta) for p, _ in scorer.seen] == [{"answer": "4"}, {"answer": "four"}]


def test_text_dialogues_become_turns() -> None:
    scorer = ByLength()
    call(plugs.trl(scorer), ["\n\nHuman: Hello\n\nAssistant:"], [" Hi there"])
    prompt, text = scorer.seen[0]
    assert (prompt.text, prompt.messages[0].role, text) == ("Hello", "user", "Hi there")


def test_many_batches_of_nothing_in_a_row_are_refused() -> None:
    reward = plugs.trl(ByLength(), max_blank=2)
    metrics: dict[str, float] = {}
    assert call(reward, ["?"], ["c"], log_metric=metrics.__setitem__) == [None]
    assert metrics == {"trueline_lower/unscored_frac": 1.0}
    call(reward, ["?"], ["b"])
    call(reward, ["?"], ["c"])
    with pytest.raises(JudgeError, match=r"none in 2 in a row \(odd\)"):
        call(reward, ["?"], ["c"])


def test_it_can_be_pickled_and_refuses_what_makes_no_sense() -> None:
    reward = pickle.loads(pickle.dumps(plugs.trl(ByLength(), name="taste")))
    assert reward.__name__ == "taste" and call(reward, ["?"], ["a b"]) == [1.0]
    with pytest.raises(InputError, match="use must be"):
        plugs.trl(ByLength(), use="upper")
    seen = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
    with pytest.raises(DataError, match="must be text; got image"):
        call(plugs.trl(ByLength()), [seen], [[{"role": "assistant", "content": "4"}]])


class Recorder:
    """A real conservative reward on the embedded trunk, which cannot score every third text."""

    def __init__(self) -> None:
        trunk = Trunk.load(trunk_path())
        pairs = [
            Comparison(
                chosen=Response(prompt=prompt, text="answer 7 , sure"),
                rejected=Response(prompt=prompt, text="let us see"),
            )
            for prompt in Sums().prompts(9, np.random.default_rng(1))
        ]
        readings = trunk.read([r for pair in pairs for r in (pair.chosen, pair.rejected)])
        head = Conservative(head=Bayesian(layer=2), k=1.0)
        self.reward = head.fit(readings, pairs, rng=np.random.default_rng(0)).on(trunk)
        self.seen: list[tuple[Prompt, str]] = []
        self.scores: list[Scores] = []

    def score(self, prompts: Any, responses: Any) -> Scores:
        self.seen += zip(prompts, responses, strict=True)
        scores = self.reward.score(prompts, responses)
        scored = np.array([sum(map(ord, text)) % 3 > 0 for text in responses])
        names = ("mean", "std", "lower", "novelty")
        columns = {name: np.where(scored, getattr(scores, name), np.nan) for name in names}
        low, high = columns["mean"] - 9.0, columns["mean"] + 9.0
        self.scores.append(Scores(**columns, scored=scored, low=low, high=high))
        return self.scores[-1]


@pytest.mark.parametrize("trainer", ["GRPOTrainer", "RLOOTrainer"])
def test_inside_a_real_run(trainer: str, tmp_path: Path) -> None:
    scorer = Recorder()
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
        assert logged["rewards/trueline_lower/mean"] == pytest.approx(lower.mean(), abs=1e-5)
        assert logged["reward"] == pytest.approx(lower.mean(), abs=1e-5)
        assert logged["unscored_frac"] == pytest.approx(1 - ok.mean())
        assert logged["std"] == pytest.approx(scores.std[ok].mean(), abs=1e-5)
        assert logged["novelty"] == pytest.approx(scores.novelty[ok].mean(), abs=1e-5)
        assert logged["caution"] == pytest.approx((scores.mean[ok] - lower).mean(), abs=1e-5)
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
    config = getattr(trl, trainer.replace("Trainer", "Config"))(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=12,
        logging_steps=1,
        log_completions=True,
        num_completions_to_print=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=0,
    )
    run = getattr(trl, trainer)(
        model=str(trunk_path()),
        reward_funcs=reward,
        args=config,
        train_dataset=datasets.Dataset.from_dict(rows),
    )
    run.train()
    return run, asked


def test_the_plugs_are_loaded_when_they_are_used() -> None:
    code = "import sys, trueline.plugs; print({'torch', 'trl', 'inspect_ai'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plugs.nothing
