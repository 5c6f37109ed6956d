"""How often rules are wrong: on labelled GSM8K solutions, and under attack.

    python -m benchmarks.rules                         (about a minute)

`Exact` against the labels of 2,640 solutions by four systems (Cobbe et al. 2021, arXiv 2110.14168);
the equations of the solutions that people wrote, which are right, so that what is called wrong is a
false alarm, and how many of them `Arithmetic` can follow to the answer; `UnitTest` on code that
tries to pass without being right. Intervals are Clopper and Pearson's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.common import Cells, Measured, Options, Row, run, shared, timed
from tests.rewards.hostile import FORGERIES, RIGHT, TESTS
from trueline.records import Estimate, Prompt
from trueline.rewards.rules_arithmetic import Arithmetic, equations, holds
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_text import Exact

__all__ = ["Rules", "measure"]

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@dataclass(frozen=True, kw_only=True)
class Rules(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = ()
    """Nothing is random."""


def share(hits: Sequence[bool] | np.ndarray) -> Estimate:
    """Return a share with its exact 95 % interval."""
    count, n = int(np.sum(hits)), len(hits)
    interval = binomtest(count, n).proportion_ci(0.95)
    return Estimate(count / n, float(interval.low), float(interval.high), n)


def problems(num: int | None) -> list[dict[str, Any]]:
    """Return GSM8K problems with their solutions: all, or the first `num`."""
    with gzip.open(shared() / "data/gsm8k_solutions/solutions.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file][:num]


def measure(options: Rules, cells: Cells) -> Measured:
    """Grade solutions and code by rules."""
    asked = problems(20 if options.quick else None)
    pairs = [(one, one[system]) for one in asked for system in SYSTEMS]
    prompts = [Prompt.of("?", answer=one["ground_truth"].rpartition("A:")[2]) for one, _ in pairs]
    rule, texts = Exact(extract="after:A:"), [solution["solution"] for _, solution in pairs]
    scores, spent = timed(lambda: rule.score(prompts, texts))
    labels = np.array([solution["is_correct"] for _, solution in pairs])
    agree = share((scores.column("mean") == 1.0) == labels)

    people = [one["ground_truth"] for one in asked]
    shown = [chains for text in people if (chains := equations(text))]
    alarms = share([not all(map(holds, chains)) for chains in shown])
    right = [Prompt.of("?", answer=text.rpartition("A:")[2]) for text in people]
    graded = Arithmetic().score(right, people)
    passing = share(graded.mean[graded.scored] == 1.0)

    forgeries = FORGERIES[:2] if options.quick else FORGERIES
    code = UnitTest().score([Prompt.of("?", tests=TESTS)] * (len(forgeries) + 1),
                            [RIGHT, *forgeries])  # fmt: skip
    passed = share(code.column("mean")[1:] == 1.0)
    rows = [
        Row.least(f"exact answers agree with the labels of {len(labels)} solutions", agree, 0.99),
        Row("equations of people's right solutions called wrong, a solution", alarms),
        Row("people's right solutions whose equations lead to the answer", passing),
        Row("wrong code that tries to pass its unit tests, and passes", passed, "0",
            passed.value == 0),
    ]  # fmt: skip
    numbers = {
        "exact_ms_a_row": 1000 * spent["wall_s"] / len(labels),
        "arithmetic_unscored": int((~graded.scored).sum()),
        "right_code_passes": bool(code.column("mean")[0] == 1.0),
    }
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, Rules)
