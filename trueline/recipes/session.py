"""What the parts of one command share: models that are loaded once, a console, a seed.

>>> Session(seed=3).seed
3
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from trueline.errors import InputError, SetupError
from trueline.models.adapters import BasePolicy
from trueline.models.chat import LocalChatModel
from trueline.models.endpoint import Endpoint
from trueline.models.sampling import complete
from trueline.models.trunk import Trunk
from trueline.protocols import ChatModel, Rater
from trueline.raters.people import People, Queue, ask_in_terminal
from trueline.worlds.sums import trunk_path

__all__ = ["API_KEY", "Session", "trunk_of"]

API_KEY = "TRUELINE_API_KEY"
"""The environment variable whose value is sent to endpoints, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where models run and whom to ask; each model is loaded once."""

    model: str | None = None
    """Folder or hub name of the main trunk; None: the embedded model."""
    seed: int = 0
    device: str = "cpu"
    cache: Path | None = None
    """Where readings are kept between commands."""
    console: Console = field(default_factory=Console)
    queue: Path = Path("judged.queue")
    """Where a person's cases and answers lie."""
    max_new_tokens: int = 80
    """Longest answer of the embedded model as a critic."""
    trunks: dict[str | None, Trunk] = field(default_factory=dict)
    """Those loaded so far, by name; None: the embedded model."""

    @cached_property
    def trunk(self) -> Trunk:
        """The main trunk."""
        return self.load(self.model)

    def load(self, model: str | None) -> Trunk:
        """Return the trunk of that folder or hub name; the embedded model for None."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise SetupError(
                "the device must exist on this machine", got=self.device, do="use --device cpu"
            )
        if model not in self.trunks:
            place = str(trunk_path()) if model is None else model
            self.trunks[model] = Trunk.load(place, device=self.device, cache_dir=self.cache)
        return self.trunks[model]

    def chat_model(self, path: str) -> ChatModel:
        """Return a local model that answers dialogues."""
        return LocalChatModel(BasePolicy(self.load(path)))

    def endpoint(self, url: str, model: str, timeout_s: float) -> ChatModel:
        """Return a model behind an OpenAI-compatible server."""
        key = API_KEY if API_KEY in os.environ else None
        return Endpoint(url=url, model=model, key=key, timeout_s=timeout_s)

    def complete(self, prefixes: list[list[int]]) -> list[list[int]]:
        """Continue token sequences with the embedded model, greedily."""
        trunk = self.load(None)
        return complete(trunk.model, trunk.codec, prefixes, max_new_tokens=self.max_new_tokens)

    def person(self, timeout_s: float) -> Rater:
        """Return whoever sits at the console; no case is put to them twice."""
        queue, name = Queue(self.queue), getpass.getuser()

        def ask() -> bool:
            return ask_in_terminal(queue, person=name, console=self.console, read=_typed)

        return People(queue=queue, timeout_s=timeout_s, meanwhile=ask)


def trunk_of(folder: Path) -> str:
    """Return where the trunk of a saved reward is, as its folder says."""
    card = folder / "card.json"
    if not card.is_file():
        raise SetupError("a reward folder must hold card.json", got=f"none in {folder}")
    name = json.loads(card.read_text("utf-8")).get("trunk")
    if not name:
        raise SetupError("a reward's trunk must be known", got=f"none in {card}", do="give --model")
    return str(name)


def _typed() -> str:
    try:
        return input()
    except EOFError:
        raise InputError("a person must be at the terminal to judge", got="no input") from None
