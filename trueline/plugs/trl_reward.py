"""Give TRL's GRPOTrainer and RLOOTrainer a scorer as reward function, its doubt in their log.

    GRPOTrainer(..., reward_funcs=trl(reward, use="lower"))

Written against TRL 1.16. It calls a reward function by keywords only: `prompts`, `completions`
(texts, or lists of messages), `completion_ids`, the data set's other columns, `trainer_state`,
`log_extra` and `log_metric`. The columns go into `Prompt.meta`, where rules find the answer.

Unscored is None: TRL leaves it out of the group's baseline and sets its advantage to 0. A batch of
nothing but None is a step that teaches nothing, and TRL trains on (ms-swift#8123: for a whole run);
so the first is warned about and the tenth in a row is a `JudgeError`. In the log, per reward
function: `NAME/std`, `NAME/novelty`, `NAME/caution` (mean − lower) over what is scored, and
`NAME/unscored_frac`; per completion all columns of `Scores` in the table of `log_completions`.

With several processes each scores its own completions on its own copy of the trunk. Picklable where
the scorer is. Fails (`DataError`) on images, which no reward here can see.

>>> from trueline.records import Scores
>>> class Long:
...     def score(self, prompts, responses):
...         n = np.array([float(len(r)) for r in responses])
...         return Scores(n, 0 * n, n - 1, 0 * n, n > 0)
>>> trl(Long())(prompts=["?", "?"], completions=["four", ""], completion_ids=[[1], []])
[3.0, None]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline.errors import InputError, JudgeError
from trueline.plugs.turns import Turns, check_use, dialogue
from trueline.protocols import Scorer
from trueline.records import Scores

__all__ = ["RewardFunction", "trl"]

_THEIRS = {"completion_ids", "environments", "trainer_state"}
"""What TRL hands over besides that is no column of the data set."""


def trl(
    scorer: Scorer,
    *,
    use: str = "lower",
    unscored: float | None = None,
    max_blank: int = 10,
    name: str | None = None,
) -> RewardFunction:
    """Return a reward function that TRL can call.

    `use`: "lower" or "mean". `unscored`: what the trainer is told of a response that could not be
    scored; None leaves it out. `max_blank`: batches in a row with nothing scored that are borne.
    `name`: what the log calls it, `trueline_lower` if not said.
    """
    check_use(use)
    if unscored is not None and not np.isfinite(unscored):
        raise InputError("unscored must be a finite number or None", got=str(unscored))
    name = name or f"trueline_{use}"
    return RewardFunction(scorer, use=use, unscored=unscored, max_blank=max_blank, name=name)


@dataclass(eq=False)
class RewardFunction:
    """Made by `trl`."""

    scorer: Scorer
    use: str = field(kw_only=True)
    unscored: float | None = field(kw_only=True)
    max_blank: int = field(kw_only=True)
    name: str = field(kw_only=True)
    blank: int = field(default=0, init=False)
    """Batches in a row with nothing scored."""

    def __post_init__(self) -> None:
        self.__name__ = self.name

    def __call__(
        self,
        *,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Return one reward a completion, None where it is unscored."""
        known = {name: rows for name, rows in columns.items() if name not in _THEIRS}
        pairs = [
            dialogue(prompt, completion, {name: rows[i] for name, rows in known.items()})
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        scores = self.scorer.score([prompt for prompt, _ in pairs], [text for _, text in pairs])
        self._note_blank(scores)
        if log_metric is not None:
            for name, value in self._uncertainty(scores).items():
                log_metric(f"{self.name}/{name}", value)
        if log_extra is not None:
            for name in scores.columns:
                if name != "scored":
                    log_extra(f"{self.name}/{name}", _column(scores, name))
        rewards = _column(scores, self.use)
        return [self.unscored if reward is None else reward for reward in rewards]

    def _uncertainty(self, scores: Scores) -> dict[str, float]:
        ok = scores.scored
        means = {"unscored_frac": 1.0 - float(ok.mean())}
        if ok.any():
            caution = scores.mean - scores.lower
            columns = {"std": scores.std, "novelty": scores.novelty, "caution": caution}
            means |= {name: float(x[ok].mean()) for name, x in columns.items()}
        return means

    def _note_blank(self, scores: Scores) -> None:
        if scores.scored.any() or not len(scores):
            self.blank = 0
            return
        self.blank += 1
        why = next(iter(scores.reasons.values()), "no reason given")
        if self.blank >= self.max_blank:
            raise JudgeError(
                f"{self.name} must score something in {self.max_blank} batches",
                got=f"none in {self.blank} in a row ({why})",
                do="score a few completions by hand, or raise max_blank",
            )
        if self.blank == 1:
            warnings.warn(f"{self.name} scored nothing in a whole batch: {why}", stacklevel=2)


def _column(scores: Scores, name: str) -> list[float | None]:
    """Return that column row by row, None where it is unscored."""
    pairs = zip(np.asarray(getattr(scores, name)), scores.scored, strict=True)
    return [float(value) if scored else None for value, scored in pairs]
