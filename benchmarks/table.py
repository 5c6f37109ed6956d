"""Make the tables of results from results/*.json and from nothing else.

python -m benchmarks.table            # print README.md's table: one row a benchmark, in plain words
python -m benchmarks.table --write    # put it between the markers in README.md, and every row of
                                      # every benchmark into results/README.md
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tyro

from benchmarks.common import ROOT

__all__ = ["MEASURED", "everything", "table"]

BEGIN, END = "<!-- results: made by benchmarks/table.py -->", "<!-- end of results -->"
# What the first row of each benchmark measures, in the order of README.md's table.
MEASURED = {
    "main_job": "the main job (`trueline run`, 2,000 comparisons): how far the policy comes from "
    "the base model to the best of 16 samples picked by the truth",
    "kill_resume": "runs killed at random moments and started again that end with the same result",
    "gate_power": "runs of the gate in which an equally good policy was ever accepted (at most 0.1 "
    "is promised)",
    "flipped_labels": "a quarter of the labels flipped: share of the possible gain that picking "
    "the best of 256 by the reward keeps",
    "hh_harmless": "people's preferences (hh-rlhf, harmless) predicted from a small encoder: "
    "held-out pairs ranked right",
    "hh_harmless_smollm2": "the same from a chat model's latents (SmolLM2-135M-Instruct, bfloat16)",
    "principles": "a page of principles beside 25 of people's labels: held-out pairs that the head "
    "ranks right, ahead of the head that has the labels alone",
    "principles_smollm2": "the same on SmolLM2-135M-Instruct",
    "reward_core": "what each part of the fit of the reward is worth, beside twelve lines of "
    "scikit-learn",
    "pair_selection": "asking about the pairs that would teach most, against random pairs",
    "calibration": "90 % intervals of the reward: share of held-out verdicts inside",
    "overoptimisation": "best of 4,096, heavy-tailed errors: settings in which our reward's pick "
    "is truly better than that of the best of several tuned rivals",
    "gold_at_kl": "true reward beyond the peak of TRL's GRPO on its own reward model, at equal KL",
    "trl_grpo": "a GRPO step on the embedded model: times faster than TRL's",
    "trl_grpo_smollm2": "the same on SmolLM2-135M-Instruct",
    "reward_trainer": "fitting the reward on latents: times less processor time than TRL's "
    "RewardTrainer",
    "chat_model": "SmolLM2-135M-Instruct brought to answer in one sentence of at most 20 words by "
    "best of 8 (DPO and GRPO stand beside it): share of answers to unseen prompts that do, less "
    "the base model's",
    "programme": "a chat model towards a principle, no human label: share of answers to unseen "
    "prompts that a judge taught by people prefers to the base model's",
    "oversight": "planted mistakes that a judge finds with a critic's help, over those found alone",
    "serving": "the reward server with 64 clients: share of the model's own throughput kept",
}


@dataclass
class Arguments:
    write: bool = False
    """Put the tables into README.md and results/README.md."""


def table() -> str:
    """Return README.md's table: the first row of each benchmark, and how many bars were met."""
    rows = ["| what was measured | result (95 % interval, n) | command, commit |", "|---|---|---|"]
    records = _records()
    bars = [row["met"] for record in records.values() for row in record["headlines"]]
    for name, measured in MEASURED.items():
        if name in records:
            first = records[name]["headlines"][0]
            module = records[name]["command"].split(" --")[0]
            made = f"`{module}` at {records[name]['commit']}"
            rows.append(f"| {measured} | {_value(first['value'])} | {made} |")
    met = sum(m is True for m in bars)
    total = sum(m is not None for m in bars)
    rows += ["", f"Of the {total} bars set for these benchmarks beforehand, {met} are met; "]
    rows[-1] += "[results/README.md](results/README.md) shows each, met and missed."
    return "\n".join(rows)


def everything() -> str:
    """Return the page results/README.md: every row of every benchmark, with its bar."""
    header = ["| measured | value (95 % interval, n) | bar |", "|---|---|---|"]
    marks = {True: " ✓", False: " **missed**", None: ""}
    page = ["# Results", "", "Made by `python -m benchmarks.table --write`.", ""]
    for name, record in _records().items():
        page += [
            f"## {name}",
            "",
            f"`{record['command']}` at commit {record['commit']}",
            "",
            *header,
        ]
        page += [
            f"| {row['what']} | {_value(row['value'])} | {row['bar'] or ''}{marks[row['met']]} |"
            for row in record["headlines"]
        ]
        page.append("")
    return "\n".join(page)


def _records() -> dict[str, dict[str, Any]]:
    """Return the result files by name: README.md's order first, then the others."""
    files = {file.stem: file for file in sorted((ROOT / "results").glob("*.json"))}
    order = [name for name in MEASURED if name in files]
    order += [name for name in files if name not in MEASURED]
    return {name: json.loads(files[name].read_text()) for name in order}


def _value(value: Any) -> str:
    """Write a number with its interval and count, or a text as it is."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if not isinstance(value, dict):
        return str(value)
    if value["value"] is None:
        return "not measured"
    apart = [] if value["lower"] is None else [f"{value['lower']:.3f} to {value['upper']:.3f}"]
    apart += [f"n={value['n']}"] if "n" in value else []
    return f"{value['value']:.3f}" + (f" ({', '.join(apart)})" if apart else "")


def main(arguments: Arguments) -> None:
    if not arguments.write:
        print(table())
        return
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
    (ROOT / "results" / "README.md").write_text(everything())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
