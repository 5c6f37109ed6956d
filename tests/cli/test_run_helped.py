"""`trueline run` on a model of one's own, judged and helped by a language model behind a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trueline.cli import main
from trueline.data.store import LabelStore
from trueline.rng import stream
from trueline.testing import FakeEndpoint
from trueline.worlds.sums import Sums, trunk_path

SMALL = (
    "--rounds",
    "1",
    "--labels",
    "24",
    "--set",
    "budget.prompts_per_round=4",
    "--set",
    "evaluate.prompts=4",
)


def says(messages: list[dict[str, str]]) -> str:
    """A judge who finds the longer of two answers better; a critic with nothing to say."""
    text = messages[-1]["content"]
    code = re.search(r"VERDICT ([0-9a-f]{12})", text)
    if code is None:
        flaw = re.search(r"FLAW ([0-9a-f]{12})", text)
        return f"NO FLAW {flaw[1]}" if flaw else "?"
    parts = dict(re.findall(r"=== begin text \w+ (answer [AB]) ===\n(.*?)\n=== end", text, re.S))
    better = "A" if len(parts["answer A"]) > len(parts["answer B"]) else "B"
    return f"VERDICT {code[1]}: {better} 80%"


@pytest.mark.parametrize("protocol", ["critique", "debate"])
def test_a_language_model_judges_with_help(protocol, tmp_path: Path, capsys):
    prompts = Sums().prompts(80, stream(0, "helped"))
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": p.text}) + "\n" for p in prompts))
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
