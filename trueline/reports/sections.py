"""The story of a report: each section asks a question in plain words and gives its panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trueline.reports import panels
from trueline.reports.folder import Run
from trueline.reports.panels import Panel

__all__ = ["Section", "sections"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a lead that says what is measured, and panels."""

    key: str
    title: str
    lead: str
    panels: tuple[Panel, ...]

    @property
    def missing(self) -> list[str]:
        """Titles of the panels that have nothing to show."""
        return [panel.title for panel in self.panels if panel.figure is None]


def sections(runs: Sequence[Run]) -> list[Section]:
    """All sections in the order of the story; what was not measured stands last in each."""
    return [replace(s, panels=_measured_first(s.panels)) for s in (*_climb(runs), *_signs(runs))]


def _measured_first(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    return tuple(sorted(panels, key=lambda panel: panel.figure is None))


def _climb(runs: Sequence[Run]) -> list[Section]:
    """What was reached, what was certified, and whether the reward was right about the raters."""
    return [
        Section(
            key="gold",
            title="Gold and reward",
            lead="Gold is an answer's true worth, which only the world knows: no rater, reward or "
            "gate ever sees it. The reward is what the loop learns from comparisons and improves "
            "the policy against; it is given relative to the base model's answers. KL says how far "
            "the policy has moved from the model it began as, in nats per answer. If the reward "
            "goes on rising where gold does not, the policy is gaming the reward.",
            panels=(panels.gold(runs), panels.proxy(runs)),
        ),
        Section(
            key="gate",
            title="The gate",
            lead="After each round, fresh comparisons of the new policy with the last certified "
            "one are bet on. An e-value is the winnings: 1 is no evidence, and only above the "
            "threshold does the round pass. A policy that passes is certified; one that is shown "
            "to be worse is rolled back; anything else is held, trained on and tested again.",
            panels=(*panels.gates(runs), panels.win_rate(runs)),
        ),
        Section(
            key="reward",
            title="Was the reward right about the raters?",
            lead="Before learning from a round's comparisons, the reward predicts them. A reward "
            "that knows what it knows lies on the diagonal: of the comparisons it calls 80 % sure, "
            "80 % come out that way. This is agreement with the raters, not with gold.",
            panels=(
                *panels.calibrations(runs),
                panels.accuracy(runs),
                panels.calibration_error(runs),
            ),
        ),
    ]


def _signs(runs: Sequence[Run]) -> list[Section]:
    """Early signs of trouble, what was paid, and what is in the answers."""
    return [
        Section(
            key="doubt",
            title="Doubt, novelty and length",
            lead="Three early signs that the policy leaves the ground its reward was fitted on.",
            panels=(panels.doubt(runs), panels.novelty(runs), panels.length(runs)),
        ),
        Section(
            key="labels",
            title="What the labels were spent on",
            lead="One budget pays for both: comparisons that the reward learns from, and "
            "comparisons kept apart for the gate, which nothing is ever fitted on.",
            panels=tuple(panels.spent(runs)),
        ),
        Section(
            key="best-of-n",
            title="How hard can the reward be leaned on?",
            lead="From n answers the one with the highest score is taken. A sound reward keeps "
            "gaining with n; one with holes peaks and then falls as n finds them. Plain picks by "
            "the reward's mean, conservative by its lower bound, the oracle by gold itself.",
            panels=tuple(panels.curves(runs)),
        ),
        Section(
            key="answers",
            title="What is in the answers",
            lead="What gold is made of, as shares of the answers of each round; and how often the "
            "raters' labels, which are all that the loop learns from, side with gold.",
            panels=(*panels.breakdowns(runs), panels.agreement(runs)),
        ),
    ]
