"""Give TRL's GRPOTrainer and RLOOTrainer a scorer as reward function, its uncertainty in their log.

Written against TRL 1.16. The data set's columns go into `Prompt.meta`, where rules find the answer.
Unscored is None: TRL leaves it out of the group's baseline and sets its advantage to 0. A batch of
nothing but None teaches nothing, and TRL trains on (ms-swift#8123: for a whole run); so the tenth
in a row is a `JudgeError`. In the log, per reward function: `NAME/std`, `NAME/novelty`,
`NAME/caution` (mean − lower) over what is scored, and `NAME/unscored_frac`; per completion all
columns of `Scores` in the table of `log_completions`. Fails (`DataError`) on images.

>>> from trueline.records import Scores
>>> class Long:
...     def score(self, prompts, responses):
...         n = np.array([float(len(r)) for r in responses])
...         return Scores(n, 0 * n, n - 1, 0 * n, n > 0)
>>> trl(Long())(prompts=["?", "?"], completions=["four", ""], completion_ids=[[1], []])
[3.0, None]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trueline.errors import JudgeError
from trueline.plugs.turns import Turns, check_use, dialogue
from trueline.protocols import Scorer
from trueline.records import Scores

__all__ = ["RewardFunction", "trl"]

_NOT_COLUMNS = {"completion_ids", "environments", "trainer_state"}
"""What TRL hands over besides the columns of the data set."""


def trl(
    scorer: Scorer, *, use: str = "lower", max_blank: int = 10, name: str | None = None
) -> RewardFunction:
    """Return a reward function that TRL can call.

    `use`: "lower" or "mean". `max_blank`: batches in a row with nothing scored that are borne.
    `name`: what the log calls it, `trueline_lower` if not given.
    """
    check_use(use)
    return RewardFunction(scorer, use, max_blank, name or f"trueline_{use}")


class RewardFunction:
    """A reward function as TRL calls it, made by `trl`."""

    def __init__(self, scorer: Scorer, use: str, max_blank: int, name: str) -> None:
        self.scorer, self.use, self.max_blank, self.name = scorer, use, max_blank, name
        self.__name__ = name
        self.blank = 0
        """Batches in a row with nothing scored."""

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
        known = {name: rows for name, rows in columns.items() if name not in _NOT_COLUMNS}
        pairs = [
            dialogue(prompt, completion, {name: rows[i] for name, rows in known.items()})
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        scores = self.scorer.score([prompt for prompt, _ in pairs], [text for _, text in pairs])
        self._note_blank(scores)
        if log_metric is not None:
            for name, value in _means(scores).items():
                log_metric(f"{self.name}/{name}", value)
        if log_extra is not None:
            for name in set(scores.columns) - {"scored"}:
                log_extra(f"{self.name}/{name}", _column(scores, name))
        return _column(scores, self.use)

    def _note_blank(self, scores: Scores) -> None:
        """Count batches without a score, and raise at the last that is borne."""
        self.blank = 0 if scores.scored.any() or not len(scores) else self.blank + 1
        if self.blank >= self.max_blank:
            why = next(iter(scores.reasons.values()), "no reason given")
            raise JudgeError(
                f"{self.name} must score something in {self.max_blank} batches",
                got=f"none in {self.blank} in a row ({why})",
                do="score a few completions by hand, or raise max_blank",
            )


def _means(scores: Scores) -> dict[str, float]:
    """Return the share of unscored rows, and the mean uncertainty of the scored ones."""
    ok = scores.scored
    columns = {"std": scores.std, "novelty": scores.novelty, "caution": scores.mean - scores.lower}
    means = {name: float(x[ok].mean()) for name, x in columns.items() if ok.any()}
    return {"unscored_frac": 1.0 - float(ok.mean()), **means}


def _column(scores: Scores, name: str) -> list[float | None]:
    pairs = zip(np.asarray(getattr(scores, name)), scores.scored, strict=True)
    return [float(value) if scored else None for value, scored in pairs]
