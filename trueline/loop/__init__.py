"""The online loop, the gate that certifies its steps, and the budget both live on."""

from trueline.loop.gate import Decision, Gate, GateSession

__all__ = ["Decision", "Gate", "GateSession"]
