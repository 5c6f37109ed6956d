"""How often rules are wrong: on labelled GSM8K solutions, on the world's own truth, under attack.

    python -m benchmarks.rules          about a minute; writes results/rules.json

Exact against the file's own labels; equations in the running
text of solutions written by people (which are right: what it calls wrong is a false alarm); on
answers of `sums` against the world's own reading of every step; UnitTest on five functions, each
right and wrong, and on code that tries to pass without being right.
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import headline, shared, write_result
from tests.rewards.hostile import FORGERIES, FUNCTIONS, TESTS
from trueline.records import Estimate, Prompt
from trueline.rewards.rules import Exact, UnitTest
from trueline.rewards.rules_arithmetic import equations, holds
from trueline.rewards.sandbox import SandboxLimits
from trueline.rng import stream
from trueline.worlds.sums.language import parse, render
from trueline.worlds.sums.problems import draw_problem
from trueline.worlds.sums.writers import draw_writer, write

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SEED = 11


def share(count: int, n: int) -> dict[str, Any]:
    """A share with its exact 95 % interval (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return {"count": count, **Estimate(count / n, float(low), float(high), n).as_dict()}


def solutions() -> dict[str, Any]:
    with gzip.open(shared() / "data/gsm8k_solutions/solutions.jsonl.gz", "rt") as file:
        problems = [json.loads(line) for line in file]
    rows = [(p, p[system]) for p in problems for system in SYSTEMS]
    prompts = [Prompt.of("?", answer=p["ground_truth"].rpartition("A:")[2]) for p, _ in rows]
    started = time.perf_counter()
    exact = Exact(extract="after:A:").score(prompts, [s["solution"] for _, s in rows])
    per_row_ms = 1000 * (time.perf_counter() - started) / len(rows)
    labels = np.array([s["is_correct"] for _, s in rows])
    people = [p["ground_truth"] for p in problems]
    found: dict[str, Any] = {
        "exact_agrees": share(int(((exact.mean == 1.0) == labels).sum()), len(rows)),
        "exact_ms_a_row": per_row_ms,
    }
    shown = [chains for text in people if (chains := equations(text))]
    alarms = sum(not all(map(holds, chains)) for chains in shown)
    found["false_alarms_text"] = share(alarms, len(shown))
    return found


def world(n: int = 4000) -> dict[str, Any]:
    rng, wrong = stream(SEED, "rules"), 0
    for i in range(n):
        task = draw_problem(rng, int(rng.integers(1, 11)), limit=79 if i % 3 == 0 else 49)
        text = render(write(task, draw_writer(rng), rng))
        said = parse(text)
        right = all(s.holds for s in [*said.steps, *([said.check] if said.check else [])])
        wrong += all(map(holds, equations(text))) != right
    return share(wrong, n)


def code() -> dict[str, Any]:
    prompts, texts, right = [], [], []
    for name, (good, bad, tests) in FUNCTIONS.items():
        for body in (good, bad):
            prompts.append(Prompt.of("?", tests=tests))
            texts.append(f"def {name}(n):\n    {body}")
            right.append(body is good)
    rule = UnitTest(limits=SandboxLimits(wall_s=60.0))
    started = time.perf_counter()
    scores = rule.score(prompts, texts)
    seconds = (time.perf_counter() - started) / len(texts)
    forged = rule.score([Prompt.of("?", tests=TESTS)] * len(FORGERIES), FORGERIES)
    return {
        "functions_disagree": share(
            int((scores.column("mean") != np.array(right)).sum()), len(right)
        ),
        "forgeries_passed": share(int((forged.column("mean") == 1.0).sum()), len(FORGERIES)),
        "seconds_a_function": seconds,
    }


def main() -> None:
    numbers = {"gsm8k": solutions(), "sums_disagree": world(), "code": code()}
    exact = numbers["gsm8k"]["exact_agrees"]
    alarms, passed = numbers["gsm8k"]["false_alarms_text"], numbers["code"]["forgeries_passed"]
    write_result(
        Path("results/rules.json"),
        numbers,
        seeds=[SEED],
        headlines=[
            headline(
                "exact answer agrees with the labels of 2,640 GSM8K solutions",
                exact, bar="at least 0.99", met=exact["value"] >= 0.99,
            ),
            headline(
                "arithmetic calls a person's right solution wrong", alarms,
                bar="no bar", met=None,
            ),
            headline(
                "code that is wrong and tries to pass its unit tests, and passes", passed,
                bar="0", met=passed["count"] == 0,
            ),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
