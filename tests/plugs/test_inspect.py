"""Our scorer inside a real Inspect run with their scripted model, read back from its log."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trueline import plugs
from trueline.errors import SetupError
from trueline.records import Prompt, Scores

inspect_ai = pytest.importorskip("inspect_ai", reason="needs the extra 'trueline[inspect]'")


class Careful:
    """The number of words, unscored where the text says "unsure"."""

    def __init__(self) -> None:
        self.seen: list[tuple[Prompt, str]] = []
        self.threads: set[str] = set()

    def score(self, prompts: Any, responses: Any) -> Scores:
        self.threads.add(threading.current_thread().name)
        self.seen += zip(prompts, responses, strict=True)
        words = np.array([float(len(text.split())) for text in responses])
        scored = np.array(["unsure" not in text for text in responses])
        reasons = {int(i): "not certain" for i in np.flatnonzero(~scored)}
        ends = {"low": words - 2, "high": np.where(words > 3, np.inf, words + 2)}
        nothing = 0 * words
        return Scores(words, nothing + 0.5, words - 1, nothing + 1.5, scored, reasons, **ends)


def run(scorer: Any, answers: list[str], folder: Path, **sample: Any) -> Any:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import read_eval_log
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.solver import generate, system_message

    samples = [Sample(input=f"ask {i}", target=str(i), **sample) for i in range(len(answers))]
    outputs = [ModelOutput.from_content("mockllm", answer) for answer in answers]
    for output in outputs:
        # Else their scripted model counts tokens with a vocabulary from the network.
        output.usage = ModelUsage()
    solver = [system_message("Be brief."), generate()]
    task = inspect_ai.Task(dataset=samples, solver=solver, scorer=scorer)
    model = get_model("mockllm/model", custom_outputs=outputs)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none", max_samples=4)
    return read_eval_log(log.location)


def test_scores_and_doubt_are_in_the_log_and_unscored_is_left_out(tmp_path: Path) -> None:
    careful = Careful()
    answers = ["one two", "unsure", "one two three four", "one two three"]
    log = run(plugs.inspect(careful, name="taste"), answers, tmp_path, metadata={"k": 1})
    assert log.status == "success"
    by_answer = {s.scores["taste"].answer: s.scores["taste"] for s in log.samples}
    assert by_answer["one two"].value == 1.0 and by_answer["one two three four"].value == 3.0
    numbers = {"mean": 2.0, "std": 0.5, "lower": 1.0, "novelty": 1.5, "low": 0.0, "high": 4.0}
    assert by_answer["one two"].metadata == numbers
    assert "high" not in by_answer["one two three four"].metadata
    unsure = by_answer["unsure"]
    assert np.isnan(unsure.value) and unsure.explanation == "not certain"
    assert unsure.reason == "scoring_failed"
    (result,) = log.results.scores
    assert (result.scored_samples, result.unscored_samples) == (3, 1)
    assert result.metrics["mean"].value == pytest.approx(2.0)
    assert result.metrics["stderr"].value == pytest.approx(1 / np.sqrt(3))
    assert result.params == {"use": "lower"}
    prompt = next(p for p, text in careful.seen if text == "one two")
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert prompt.meta["k"] == 1 and prompt.text == f"ask {prompt.meta['answer']}"
    assert len(careful.seen) == 4 and "MainThread" not in careful.threads


def test_without_inspect_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.delitem(sys.modules, "trueline.plugs.inspect_scorer", raising=False)
    with pytest.raises(SetupError, match=r"pip install 'trueline\[inspect\]'"):
        importlib.import_module("trueline.plugs.inspect_scorer")


def test_a_trajectory_with_tools_is_one_answer() -> None:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageTool, ChatMessageUser
    from inspect_ai.tool import ToolCall

    from trueline.plugs.inspect_scorer import _read

    call = ToolCall(id="1", function="add", arguments={"a": 2})
    messages = [
        ChatMessageUser(content="2 + 2 = ?"),
        ChatMessageAssistant(content="", tool_calls=[call], source="generate"),
        ChatMessageTool(content="4", function="add"),
        ChatMessageAssistant(content="It is 4", source="generate"),
    ]
    prompt, text = _read(SimpleNamespace(messages=messages, metadata={}), "4")
    assert prompt.text == "2 + 2 = ?" and prompt.meta["answer"] == "4"
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
    assert text == f"{call}\n\ntool: 4\n\nAssistant: It is 4"
