"""What tests of several folders are made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from trueline.cli import main
from trueline.data.comparisons import Comparisons
from trueline.data.files import write_jsonl
from trueline.records import Comparison, Response
from trueline.worlds.sums import Sums
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.writers import Writer, write

__all__ = ["principle_in", "prompts_in", "right_over_wrong", "says", "verb"]


def right_over_wrong(num: int, seed: int = 0) -> Comparisons:
    """Right answers preferred to wrong ones, to so many sums."""
    rng = np.random.default_rng(seed)
    rows = []
    for prompt in Sums().prompts(num, rng):
        problem = Problem.read(prompt.text)
        right, wrong = (
            Response(prompt=prompt, text=render(write(problem, Writer(wrong_step=share), rng)))
            for share in (0.0, 1.0)
        )
        rows.append(Comparison(chosen=right, rejected=wrong))
    return Comparisons(tuple(rows))


def principle_in(file: Path) -> Path:
    """Right answers and wrong ones to forty sums, as the principle "right"."""
    examples = [
        {"questions": [p.prompt.text], "good": [p.chosen.text], "bad": [p.rejected.text]}
        for p in right_over_wrong(40, seed=5)
    ]
    file.write_text(tomli_w.dumps({"right": {"says": "Be right.", "examples": examples}}))
    return file


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


def prompts_in(file: Path) -> Path:
    """Eighty sums, as prompts in a file."""
    rows = ({"prompt": prompt.text} for prompt in Sums().prompts(80, np.random.default_rng(0)))
    write_jsonl(file, rows)
    return file


def verb(capsys: Any, *arguments: object, code: int = 0) -> Any:
    """The JSON object of a command; where it must fail, the one line of its error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*(str(a) for a in arguments), "--json"])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    if not code:
        return json.loads(captured.out)
    # Between them there may be a line of how far it is, on a slow machine.
    (line,) = [line for line in captured.err.splitlines() if line.startswith("trueline: ")]
    assert captured.out == "" and line.startswith("trueline: ")
    return line
