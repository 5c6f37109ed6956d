"""Claims made measurable: one file measures one claim, with its interval and its floors.

`AUDITS` maps an audit's name to its class; each has one verb, `run(target, *, rng) -> Finding`.
`judgements` measures arms of judging, and `recursion` raises and measures helpers by level.
"""

from trueline.audits.assisted_evaluation import AssistedEvaluation
from trueline.audits.critique_gap import CritiqueGap
from trueline.registry import register

__all__ = ["AUDITS", "AssistedEvaluation", "CritiqueGap"]

AUDITS = register("audits", "run", assisted_evaluation=AssistedEvaluation, critique_gap=CritiqueGap)
