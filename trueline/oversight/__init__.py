"""Oversight protocols: one file, one idea, one verb `judge(case, *, helper, judge, rng)`.

A case is a pair of responses to one prompt. Each protocol shows it to the judge in a random order,
so that a judge who favours the first answer favours nobody.
"""

from trueline.oversight.critique import Critique
from trueline.oversight.direct import Direct

__all__ = ["Critique", "Direct"]
