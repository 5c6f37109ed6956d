"""`trueline export`: a saved reward or a run's policy as a folder that others' tools read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from trueline.cli.common import Place
from trueline.errors import InputError
from trueline.recipes.runs import load_run

__all__ = ["ExportVerb"]


@dataclass(frozen=True, kw_only=True)
class ExportVerb(Place):
    """Write a saved reward, its trunk included, for AutoModelForSequenceClassification; or the
    policy that a run certified, as an adapter for peft or merged for AutoModelForCausalLM.

        trueline export rewards/helpful exported/helpful
        trueline export --policy --merged runs/joy exported/joy
    """

    source: tyro.conf.Positional[Path]
    """Reward folder, as `trueline fit` wrote it; with --policy a run's folder."""
    out: tyro.conf.Positional[Path]
    """Where it is written: a new or empty folder."""
    model: str | None = None
    """The trunk, if it has moved since the fit or the run."""
    policy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The last certified policy of a run."""
    round: int | None = None
    """Of a policy: that of this round, which its gate may also have held, uncertified."""
    merged: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Of a policy: a whole model, the adapter added to its weights."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Write the folder; return where it is and which form it took."""
        if not self.policy and (self.merged or self.round is not None):
            raise InputError("--merged and --round are for a --policy", got="a reward")
        # Other verbs need none of what it loads.
        from trueline.plugs.exporter import export, export_policy

        if self.policy:
            recipe = load_run(self.source).recipe
            trunk = self.session(console).load(self.model or recipe.model.path)
            how: Any = {"merged": self.merged, "round": self.round, "sampling": recipe.sampling}
            found = export_policy(self.source, trunk, self.out, **how)
            said = f"{found['form']}, of round {found['round']}, gate: {found['gate']}"
            console.print(f"exported to {self.out} ({said})")
            return {"out": str(self.out), **found}
        trunk, reward = self.session(console).reward(self.source, self.model)
        export(reward, trunk, self.out)
        console.print(f"exported to {self.out}; load it with trust_remote_code=True")
        console.print("it gives the mean; the lower bound is not linear: serve the reward for that")
        return {"out": str(self.out), "head": "mean"}
