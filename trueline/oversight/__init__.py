"""Oversight protocols: how a pair of answers is judged, with whose help, at what cost.

Each protocol is one file with one frozen dataclass and one verb, `judge(case, *, helper, judge,
rng) -> Verdict`. It shows the two answers in a random order, so that a judge who favours the first
answer favours nobody. `PROTOCOLS` maps a protocol's name in recipes and on the command line to its
class.
"""

from trueline.oversight.constitution import Constitution
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Consultancy, Debate
from trueline.oversight.direct import Direct
from trueline.oversight.planted_flaws import PlantedFlaws
from trueline.oversight.recursive import Recursive
from trueline.registry import register

__all__ = [
    "PROTOCOLS",
    "Constitution",
    "Consultancy",
    "Debate",
    "Direct",
    "PlantedFlaws",
    "Recursive",
    "WithCritique",
]

PROTOCOLS = register(
    "oversight",
    "judge",
    direct=Direct,
    critique=WithCritique,
    debate=Debate,
    consultancy=Consultancy,
    recursive=Recursive,
    constitution=Constitution,
    planted_flaws=PlantedFlaws,
)
