"""`trueline recipe`: print a recipe whole, list those that ship, and the kinds they may name."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from trueline.cli.common import Verb
from trueline.recipes.schema import KINDS, SHIPPED, Recipe

__all__ = ["RecipeVerb"]


@dataclass(frozen=True, kw_only=True)
class RecipeVerb(Verb):
    """Print a recipe with every default written out; without a name, list the shipped ones.

    trueline recipe sums --set policy.kind=grpo > mine.toml

    trueline recipe --kinds
    """

    name: tyro.conf.Positional[str | None] = None
    """Name of a shipped recipe, or a TOML file."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: change one key; may be repeated."""
    kinds: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List every kind that a section may name, with its fields."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Print; return the recipe as TOML, the names, or the kinds."""
        if self.kinds:
            kinds: dict[str, dict[str, list[str]]] = {}
            for role, known in KINDS.items():
                console.print(f"[bold]{role}[/bold]")
                kinds[role] = {}
                for name, kind in known.items():
                    kinds[role][name] = [f.name for f in dataclasses.fields(kind) if f.init]
                    summary = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
                    console.print(f"  {name}: {summary}", markup=False)
                    console.print(f"    {', '.join(kinds[role][name])}", markup=False)
            return kinds
        if self.name is None:
            shipped = {
                file.stem: file.read_text("utf-8") for file in sorted(SHIPPED.glob("*.toml"))
            }
            for name, text in shipped.items():
                console.print(f"{name}: {text.splitlines()[0].removeprefix('# ')}", markup=False)
            return {"recipes": list(shipped)}
        recipe = Recipe.of(self.name, changes=self.set)
        console.print(recipe.as_toml(), markup=False, highlight=False, soft_wrap=True)
        # As TOML: JSON has no infinity, and a limit that is none is inf.
        return {"recipe": recipe.as_toml()}
