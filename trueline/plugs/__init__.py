"""Our scorers in other people's frameworks; each name is loaded when it is first used.

    reward_funcs=trl(reward, use="lower")       TRL's GRPOTrainer and RLOOTrainer
    scorer=inspect(reward)                      an Inspect task's scorer
    export(reward, trunk, folder)               AutoModelForSequenceClassification
    export_policy(run, trunk, folder)           PeftModel, or AutoModelForCausalLM

What is unscored stays so in their hands: None in TRL, `Score.unscored` in Inspect, never a number.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueline.plugs.exporter import export, export_policy
    from trueline.plugs.inspect_scorer import inspect
    from trueline.plugs.trl_reward import trl

__all__ = ["export", "export_policy", "inspect", "trl"]

_HOMES = {
    "export": "exporter",
    "export_policy": "exporter",
    "inspect": "inspect_scorer",
    "trl": "trl_reward",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trueline.plugs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trueline.plugs.{_HOMES[name]}"), name)
