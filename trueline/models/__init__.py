"""Models: the frozen trunk and its readings, adapters that make it a policy, sampling, chat models
here and behind endpoints.

Names are imported when first used: `Readings` needs neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueline.models.adapters import BasePolicy, LoraPolicy
    from trueline.models.chat import LocalChatModel
    from trueline.models.endpoint import Endpoint
    from trueline.models.engine import Engine
    from trueline.models.reading import Readings
    from trueline.models.sampling import Rollouts, complete
    from trueline.models.trunk import Trunk

__all__ = [
    "BasePolicy",
    "Endpoint",
    "Engine",
    "LocalChatModel",
    "LoraPolicy",
    "Readings",
    "Rollouts",
    "Trunk",
    "complete",
]

_HOMES = {
    "BasePolicy": "adapters",
    "Endpoint": "endpoint",
    "Engine": "engine",
    "LocalChatModel": "chat",
    "LoraPolicy": "adapters",
    "Readings": "reading",
    "Rollouts": "sampling",
    "Trunk": "trunk",
    "complete": "sampling",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"trueline.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'trueline.models' has no attribute {name!r}")
