"""Models: the frozen trunk and its readings, adapters that make it a policy, sampling,
speakers here and behind endpoints, and fakes.

Names are imported when first used: `FakeTrunk` and `Readings` need neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueline.models.adapters import BasePolicy, LoraPolicy
    from trueline.models.endpoint import Endpoint
    from trueline.models.engine import Engine
    from trueline.models.fake import FakeTrunk, ScriptedPolicy
    from trueline.models.fake_endpoint import FakeEndpoint
    from trueline.models.fake_engine import FakeEngine
    from trueline.models.generate import complete, roll
    from trueline.models.reading import Readings
    from trueline.models.rollouts import Rollouts
    from trueline.models.scripted import ScriptedHelper, ScriptedRater, ScriptedSpeaker
    from trueline.models.speaker import LocalChatModel
    from trueline.models.trunk import Trunk

__all__ = [
    "BasePolicy",
    "Endpoint",
    "Engine",
    "FakeEndpoint",
    "FakeEngine",
    "FakeTrunk",
    "LocalChatModel",
    "LoraPolicy",
    "Readings",
    "Rollouts",
    "ScriptedHelper",
    "ScriptedPolicy",
    "ScriptedRater",
    "ScriptedSpeaker",
    "Trunk",
    "complete",
    "roll",
]

_HOMES = {
    "adapters": ("BasePolicy", "LoraPolicy"),
    "endpoint": ("Endpoint",),
    "engine": ("Engine",),
    "fake": ("FakeTrunk", "ScriptedPolicy"),
    "fake_endpoint": ("FakeEndpoint",),
    "fake_engine": ("FakeEngine",),
    "generate": ("complete", "roll"),
    "reading": ("Readings",),
    "rollouts": ("Rollouts",),
    "scripted": ("ScriptedHelper", "ScriptedRater", "ScriptedSpeaker"),
    "speaker": ("LocalChatModel",),
    "trunk": ("Trunk",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"trueline.models.{home}"), name)
    raise AttributeError(f"module 'trueline.models' has no attribute {name!r}")
