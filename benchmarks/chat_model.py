"""A chat model is brought to keep a rule that a program can check, by each optimiser.

    python -m benchmarks.chat_model --model FOLDER      (SmolLM2-135M-Instruct: 40 minutes a cell)

The rule is "one sentence of at most 20 words", the prompts are PandaLM's instructions, the recipe
is the shipped `chat` with the rule as reward and judge: its labels cost nobody's time, and count.
A cell is one optimiser and one seed; its run folder stays until the result is written, so that what
was killed goes on where it was. Afterwards the certified policy and the base answer the prompts set
apart for measuring, four times each:

    success     share of answers that keep the rule; over prompts, paired
    KL          nats a response, policy and base at the sampling temperature
    perplexity  under the base at temperature 1, of what the policy says over what the base says
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Cells, Measured, Options, Row, run, shared
from trueline import stats
from trueline.loop.resume import State
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.rollouts import Rollouts
from trueline.models.trunk import Trunk
from trueline.recipes import Recipe, load_run
from trueline.recipes.runs import make_task
from trueline.recipes.session import Session
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["RULE", "Chat", "flags_of", "measure"]

RULE = r"/\A\s*(?:\S*[^\s.!?] +){0,19}\S*\w\S*[.!?][\"')]*\s*\Z/"
"""At most 20 words between blanks, of which the last alone ends with a full stop, ! or ?."""
BUDGET = {"rounds": 2, "labels": 160, "gate_frac": 1.0, "prompts_per_round": 64}
EVALUATE = {"prompts": 36, "curve_prompts": 1, "curve_samples": 1, "oracle_samples": 1}
OWN: dict[str, dict[str, Any]] = {
    "best_of_n": {"adamw.batch_size": 8, "adamw.learning_rate": 1e-3},
    "dpo": {"adamw.batch_size": 8, "adamw.learning_rate": 1e-3},
    "grpo": {"beta": 0.02, "adamw.batch_size": 8, "adamw.learning_rate": 1e-3},
}
"""What an optimiser is given besides the recipe's own numbers; found on seeds 0 and 1."""
TINY = {"budget.prompts_per_round": 2, "evaluate.prompts": 2, "policy.max_new_tokens": 8}
SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Chat(Options):
    """Options of this benchmark."""

    model: Path
    """Folder of the chat model."""
    optimisers: tuple[str, ...] = tuple(OWN)
    threads: int = 2
    runs: Path = ROOT / "runs" / "chat_model"
    """Where the run folders lie."""


def flags_of(optimiser: str, *, quick: bool = False) -> list[str]:
    """Return the flags of `trueline run` that stand beside the recipe."""
    changes = {f"budget.{name}": value for name, value in BUDGET.items()}
    changes |= {f"evaluate.{name}": value for name, value in EVALUATE.items()}
    changes |= {f"policy.{name}": value for name, value in OWN[optimiser].items()}
    changes |= TINY if quick else {}
    flags = ["chat", "--optimiser", optimiser, "--rater", f"rule:{RULE}"]
    flags += ["--reward", f"rule:{RULE}"]
    for name, value in changes.items():
        flags += ["--set", f"{name}={value}"]
    return flags


def one_run(options: Chat, optimiser: str, seed: int) -> dict[str, Any]:
    """Run or resume the command; return what it came to and what its policy says."""
    place = options.runs / f"{optimiser}-{seed}"
    prompts = shared() / "data" / "pandalm" / "pairs.jsonl.gz"
    command = [sys.executable, "-m", "trueline", "run", *flags_of(optimiser, quick=options.quick)]
    command += ["--model", str(options.model), "--prompts", str(prompts), "--out", str(place)]
    command += ["--seed", str(seed), "--threads", str(options.threads)]
    start = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT)
    minutes = (time.monotonic() - start) / 60
    left = load_run(place)
    assert left.result is not None
    rounds = [
        {
            "success": row["gold"]["value"],
            "kl": row["kl"]["value"],
            "cut": row["cut"],
            "gate": row["gate"]["decision"],
            "gate_labels": row["gate"]["labels"],
            "stopped": row["stopped"],
            "steps_taken": row["optimiser"].get("step_frac"),
        }
        for row in left.result["rounds"]
    ]
    found = {"optimiser": optimiser, "seed": seed, "minutes": minutes, "rounds": rounds}
    found["certified_round"] = left.result["certified_round"]
    found["labels"] = left.result["labels_used"]
    return found | _unseen(place, left.recipe, options.model, seed)


def _unseen(place: Path, recipe: Recipe, model: Path, seed: int) -> dict[str, Any]:
    trunk = Trunk.load(model, dtype=recipe.model.dtype)
    task = make_task(recipe, Session(model=str(model), seed=seed, trunks={str(model): trunk}))
    policy = State.load(RunFolder.view(place), trunk, sampling=task.sampling).certified
    prompts = task.draw(recipe.evaluate.prompts, "measure", stream(seed, "chat", "prompts"))
    base = BasePolicy(trunk, sampling=task.sampling)

    def said(by: BasePolicy | LoraPolicy) -> Rollouts:
        return by.rollouts(prompts, num_samples=SAMPLES, rng=stream(seed, "chat", "answers"))

    before, after = said(base), said(policy)
    assert task.gold is not None
    kept = [np.array([task.gold(r) for r in rolled.flat]) for rolled in (before, after)]
    gain = (kept[1] - kept[0]).reshape(len(prompts), SAMPLES).mean(1)
    nats = (policy.logp(after.rows, grad=False) - base.logp(after.rows, grad=False)).double()
    plain, perplexity = BasePolicy(trunk), []
    for rolled in (before, after):
        logp = plain.logp(rolled.rows, grad=False).double().sum()
        num_tokens = sum(row.stop - row.start for row in rolled.rows)
        perplexity.append(float(np.exp(-float(logp) / num_tokens)))
    return {
        "success_before": float(kept[0].mean()),
        "success_after": float(kept[1].mean()),
        "gain": stats.mean(gain).as_dict(),
        "kl": float(nats.mean()),
        "perplexity": perplexity,
        "ended": [float(rolled.ended.mean()) for rolled in (before, after)],
        "answers": [r.text for r in after.flat[:: SAMPLES * 4]][:8],
    }


def measure(options: Chat, cells: Cells) -> Measured:
    """Run every optimiser and seed, one after the other."""
    seeds = options.seeds[:1] if options.quick else options.seeds
    runs = [
        cells.get(lambda o=o, s=s: one_run(options, o, s), optimiser=o, seed=s)  # type: ignore[misc]
        for s in seeds
        for o in options.optimisers
    ]
    rows = []
    for optimiser in options.optimisers:
        own = [r for r in runs if r["optimiser"] == optimiser]
        gain = stats.mean(np.array([r["success_after"] - r["success_before"] for r in own]))
        after = ", ".join(f"{r['success_before']:.2f} to {r['success_after']:.2f}" for r in own)
        certified = sum(r["certified_round"] > 0 for r in own)
        ratio = max(r["perplexity"][1] / r["perplexity"][0] for r in own)
        rows += [
            Row.least(f"{optimiser}: gain in rule success, unseen prompts ({after})", gain, 0.25),
            Row.least(f"{optimiser}: certified, of {len(own)} seeds", certified, len(own)),
            Row.most(f"{optimiser}: largest KL in nats", max(r["kl"] for r in own), 10),
            Row.most(f"{optimiser}: largest perplexity under the base, of base's", ratio, 1.5),
            Row.most(f"{optimiser}: slowest run, minutes", max(r["minutes"] for r in own), 40),
        ]
    return Measured(rows, {"rule": RULE, "runs": runs})


if __name__ == "__main__":
    run(measure, Chat)
