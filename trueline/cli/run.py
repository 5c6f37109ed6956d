"""`trueline run`: the loop, on the embedded world or on a model and prompts of your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from trueline import reports
from trueline.cli.common import Place, set_threads
from trueline.models.distributed import Workers
from trueline.recipes.judges_and_helpers import HELPERS, JUDGES, from_short
from trueline.recipes.runs import run
from trueline.recipes.schema import Recipe, merged, read
from trueline.rewards import REWARDS

__all__ = ["RunVerb"]


@dataclass(frozen=True, kw_only=True)
class RunVerb(Place):
    """Improve a policy from comparisons, each accepted step with its certificate.

    Alone it runs on the embedded world. A recipe says everything; flags and --set change it:

        trueline run --set policy.kind=grpo --set budget.rounds=2

        trueline run --model PATH --prompts stories.jsonl --rater rule:joy --out runs/joy

    The same command with the same --out goes on where a stopped run stands. Several processes
    share the work under `accelerate launch ... -m trueline run --device auto` (docs/scale.md).
    """

    goes_on = "labels, answers and steps are kept: the same command goes on"
    recipe: tyro.conf.Positional[str | None] = None
    """TOML file, or the name of a shipped recipe (`trueline recipe` lists them); sums, or with
    --model own-model, if not given."""
    model: str | None = None
    """Folder or hub name of a causal language model (model.path)."""
    prompts: Path | None = None
    """Prompts: .jsonl, .json, .csv, .parquet or .txt (data.prompts)."""
    rater: str | None = None
    """Who judges: simulated[:POPULATION], rule:NAME, file:PAIRS, reward:FOLDER, people, model:PATH
    or endpoint:URL#MODEL (judge). A rule's NAME is dialogue, joy, refusal or short-sentences;
    /REGEX/, 1 where it is found; or MODULE:FUNCTION, yours, text -> number, true, false, or None:
    unscored."""
    reward: str | None = None
    """What is learned: a kind of reward (`trueline recipe --kinds`), or rule:NAME, which is known
    and needs no labels but the gate's (reward)."""
    protocol: str | None = None
    """How they judge: direct, critique, debate, … (oversight.kind)."""
    helper: str | None = None
    """Who helps them: none, sums, raised, model:PATH or endpoint:URL#MODEL (oversight.helper)."""
    labels: int | None = None
    """Comparisons in all (budget.labels)."""
    rounds: int | None = None
    """Rounds of the loop (budget.rounds)."""
    optimiser: str | None = None
    """How the policy is improved: best_of_n, dpo or grpo (policy.kind)."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: change one key of the recipe; may be repeated."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Run folder to go on from: its certified policy and all comparisons learned from there."""
    out: Path | None = None
    """Run folder; runs/<time> if not given."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Run or resume; return the result object."""
        recipe = self.checked()
        set_threads(self.threads)
        left = run(
            recipe,
            out=self.out,
            seed=self.seed,
            start=self.from_,
            device=self.device,
            console=console,
        )
        place = left.folder
        report = Workers().once(lambda: reports.write_report([place]))
        console.print(reports.summary(place))
        console.print(f"report: {report}")
        return dict(left.result or {})

    def checked(self) -> Recipe:
        """Return the recipe with the flags filled in; nothing is loaded yet."""
        table = read(self.recipe or ("sums" if self.model is None else "own-model"))
        flags: list[tuple[str, Any]] = [
            ("model.path", self.model),
            ("model.dtype", self.dtype),
            ("data.prompts", None if self.prompts is None else str(self.prompts)),
            ("budget.labels", self.labels),
            ("budget.rounds", self.rounds),
        ]
        if self.rater is not None:
            flags.append(("judge", from_short(JUDGES, self.rater, key="judge")))
        if self.reward is not None:
            flags.append(("reward", from_short(REWARDS, self.reward, key="reward")))
        if self.optimiser is not None and table.get("policy", {}).get("kind") != self.optimiser:
            flags.append(("policy", {"kind": self.optimiser}))
        helper = table.get("oversight", {}).get("helper")
        if self.protocol is not None:
            flags.append(("oversight", {"kind": self.protocol}))
            flags.append(("oversight.helper", None if self.protocol == "direct" else helper))
        if self.helper is not None:
            key = "oversight.helper"
            flags.append((key, from_short(HELPERS, self.helper, key=key)))
        return Recipe.of(merged(table, flags), changes=self.set)
