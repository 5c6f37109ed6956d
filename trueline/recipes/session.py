"""What the parts of one command share: models that are loaded once, a console, a seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from trueline.data.comparisons import Comparisons
from trueline.data.prompts import load_demonstrations
from trueline.errors import SetupError
from trueline.models.trunk import Trunk
from trueline.progress import stage, tell_left_out
from trueline.records import Prompt, Response
from trueline.rewards.protocols import Fitted, load_reward
from trueline.worlds.sums import trunk_path

__all__ = ["Session"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where models run and whom to ask; each model is loaded once."""

    model: str | None = None
    """Folder or hub name of the main trunk; None: the embedded model."""
    seed: int = 0
    device: str = "cpu"
    dtype: str | None = None
    """Number type of weights; None: what a reward's card says of its trunk, else float32."""
    cache: Path | None = None
    """Where readings are kept between commands."""
    console: Console = field(default_factory=Console)
    """Where a person is asked."""
    queue: Path = Path("judged.queue")
    """Where that person's cases and answers lie."""
    trunks: dict[str | None, Trunk] = field(default_factory=dict)
    """Those loaded so far, by name; None: the embedded model."""

    @cached_property
    def trunk(self) -> Trunk:
        """The main trunk."""
        return self.load(self.model)

    def load(self, model: str | None, *, dtype: str = "float32") -> Trunk:
        """Return the trunk of that folder or hub name; the embedded model for None."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            must, do = "the device must exist on this machine", "use --device cpu"
            raise SetupError(must, got=self.device, do=do)
        if model not in self.trunks:
            place = str(trunk_path()) if model is None else model
            dtype = self.dtype or dtype
            with stage(f"loading {place}"):
                trunk = Trunk.load(place, device=self.device, dtype=dtype, cache_dir=self.cache)
            self.trunks[model] = trunk
            if dtype == "auto":
                self.console.print(f"{place}: weights in {trunk.dtype}")
        return self.trunks[model]

    def check(self, given: Prompt | Response) -> None:
        """Raise `DataError` for what the main trunk, which is loaded now, cannot be given."""
        self.trunk.codec.check(given)

    def comparisons(self, path: Path) -> Comparisons:
        """Return the preferences of a file, having told what of it was left out."""
        pairs = Comparisons.load(path, check=self.check)
        tell_left_out(self.console, path, pairs.skipped)
        return pairs

    def demonstrations(self, path: Path) -> list[Response]:
        """Return the answers of a file to learn from, having told what of it was left out."""
        found, left = load_demonstrations(path, check=self.check)
        tell_left_out(self.console, path, left)
        return found

    def reward(self, folder: Path, model: str | None = None) -> tuple[Trunk, Fitted]:
        """Return a saved reward and its trunk, which is where its card says unless `model` does."""
        reward = load_reward(folder)
        told = json.loads((folder / "card.json").read_text("utf-8"))
        if not (model := model or told.get("trunk")):
            got = f"none in {folder / 'card.json'}"
            raise SetupError("a reward's trunk must be known", got=got, do="give --model")
        trunk = self.load(model, dtype=told.get("dtype") or "float32")
        reward.on(trunk)
        if said := reward.metadata.get("warning"):
            self.console.print(f"warning, as `fit` said: {said}")
        return trunk, reward
