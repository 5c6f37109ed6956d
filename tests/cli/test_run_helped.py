"""`trueline run` on a model of one's own, judged and helped by a language model behind a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.material import prompts_in, says
from trueline.cli import main
from trueline.data.store import LabelStore
from trueline.testing import FakeEndpoint
from trueline.worlds.sums import trunk_path

SMALL = ["--rounds", "1", "--labels", "24"]
SMALL += ["--set", "budget.prompts_per_round=4", "--set", "evaluate.prompts=4"]


@pytest.mark.parametrize("protocol", ["critique", "debate"])
def test_a_language_model_judges_with_help(protocol, tmp_path: Path, capsys):
    file = prompts_in(tmp_path / "prompts.jsonl")
    with FakeEndpoint(says) as server, pytest.raises(SystemExit) as ended:
        name = f"endpoint:{server.url}#fake"
        command = ["run", "--model", str(trunk_path()), "--prompts", str(file), "--rater", name]
        command += ["--helper", name, "--protocol", protocol, "--out", str(tmp_path / "run")]
        main([*command, *SMALL, "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rounds"]) == 1
    assert found["assist"] == protocol and found["gold_final"] is None
    assert found["judge_s"] == {}, "nobody counted seconds, which is not none"
    learned = LabelStore(tmp_path / "run" / "labels.sqlite").comparisons()
    assert len(learned) > 5
    assert all(len(c.chosen.text) >= len(c.rejected.text) for c in learned)
