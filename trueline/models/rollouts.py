"""How a policy answers, and what it has answered, with the very tokens sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trueline.errors import InputError
from trueline.models.chat_format import Codec, Encoded
from trueline.records import Prompt, Response

__all__ = ["Completion", "Rollouts", "Sampling"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a policy answers: to be learned from, labelled, put to the gate and measured alike.

    The policy *is* the model at this temperature: log-probabilities, ratios and KL are of
    softmax(logits / temperature), of policy and trunk alike, and those of the model itself at 1.
    """

    temperature: float = 1.0
    """Divides the logits."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that hold so much of the probability; 1: among all."""
    max_new_tokens: int = 80
    """Longest answer, in tokens."""
    cut: Literal["score", "leave_out", "charge"] = "leave_out"
    """What an answer is that was cut there: scored as it stands; left out (unscored, shown to no
    rater); or scored less `cut_penalty`, raters judging it as it stands. Without a chat template
    answers have no end, and all are scored."""
    cut_penalty: float = 1.0
    """What a cut answer is charged, in units of the reward, where `cut` is "charge"."""

    def __post_init__(self) -> None:
        sound = 0 < self.temperature < np.inf and 0 < self.top_p <= 1 and self.max_new_tokens >= 1
        if not sound or not 0 <= self.cut_penalty < np.inf:
            raise InputError(
                "temperature must be above 0, top_p above 0 and at most 1, max_new_tokens at least "
                "1 and cut_penalty not negative",
                got=f"{self.temperature}, {self.top_p}, {self.max_new_tokens}, {self.cut_penalty}",
            )
        if self.cut not in ("score", "leave_out", "charge"):
            raise InputError("cut must be score, leave_out or charge", got=repr(self.cut))

    def charged(self, values: np.ndarray, cut: np.ndarray) -> np.ndarray:
        """Return the values [N] of answers by a reward; NaN where a cut one is left out."""
        less = {"score": 0.0, "leave_out": np.nan, "charge": self.cut_penalty}[self.cut]
        return np.where(cut, values - less, values)


@dataclass(frozen=True, slots=True)
class Completion:
    """Tokens a model put after a prefix, without the stop token, and their log-probability."""

    ids: list[int]
    token_logps: np.ndarray
    """float64, of `ids` and any stop token; nats, at the sampling temperature."""
    end_id: int | None
    """The stop token; None where the completion was cut."""


@dataclass(frozen=True)
class Rollouts:
    """K samples of each of B prompts, with the very tokens sampled; row `b * K + k` is sample k of
    prompt b.

    A response's `logp` is of the sampled tokens, with the end token where a reading has one (chat
    templates); a reading of the text differs from it where the response was cut (a reading always
    ends it), ended with another of the model's end tokens (a reading ends as the template does),
    holds a special token midway (the text leaves it out), or begins or ends with blanks that the
    template trims. A row keeps the tokens as they were sampled, whatever a reading makes of them.
    """

    responses: list[list[Response]]
    rows: list[Encoded]
    """Prompt tokens and sampled tokens, the stop token among them."""
    logps: list[np.ndarray]
    """Each float64 [T], of the row's response tokens under the sampler, at its temperature."""
    ended: np.ndarray
    """bool [N]: whether the row has a stop token; one without was cut."""
    ends: bool
    """Whether answers have an end at all: there is a chat template."""

    @classmethod
    def of(
        cls,
        codec: Codec,
        prompts: Sequence[Prompt],
        prefixes: Sequence[list[int]],
        completions: Sequence[Sequence[Completion]],
    ) -> Rollouts:
        """Put together the completions of the prompts' tokens."""
        width = len(completions[0]) if completions else 1
        asked = [prompt for prompt in prompts for _ in range(width)]
        befores = [before for before in prefixes for _ in range(width)]
        flat = [c for row in completions for c in row]
        rows, ending, num = [], codec.ending, len(codec.ending)
        for before, c in zip(befores, flat, strict=True):
            ids = c.ids if c.end_id is None else [*c.ids, c.end_id]
            end = num if num and ids[-num:] == ending else len(ids) - len(c.ids)
            stop = len(before) + len(ids)
            rows.append(Encoded([*before, *ids], len(before), stop, end=end))
        words = [row.ids[row.start : row.stop - row.end] for row in rows]
        responses = []
        for prompt, c, text in zip(asked, flat, codec.texts(asked, befores, words), strict=True):
            ends = codec.appends_end and c.end_id is not None
            n, length = len(c.ids), len(c.ids) + int(ends)
            logp = float(c.token_logps[:n].sum() + c.token_logps[n:length].sum())
            responses.append(Response(prompt=prompt, text=text, logp=logp, num_tokens=length))
        return cls(
            responses=[responses[i : i + width] for i in range(0, len(responses), width)],
            rows=rows,
            logps=[c.token_logps for c in flat],
            ended=np.array([c.end_id is not None for c in flat], dtype=bool),
            ends=codec.appends_end,
        )

    @property
    def cut(self) -> np.ndarray:
        """bool [N]: whether the answer was cut before its end; False where answers have none."""
        return ~self.ended & self.ends

    @property
    def flat(self) -> list[Response]:
        """All N responses, row by row."""
        return [response for row in self.responses for response in row]

    def first(self, num_rows: int) -> Rollouts:
        """Return the samples of the first prompts, at most `num_rows` rows but of one prompt."""
        width = len(self.responses[0])
        num = max(1, num_rows // width)
        n = num * width
        parts = self.responses[:num], self.rows[:n], self.logps[:n], self.ended[:n]
        return Rollouts(*parts, self.ends)

    def kept(self, sampling: Sampling) -> list[list[Response]]:
        """Return the responses that count: without the cut ones, where those are left out."""
        if sampling.cut != "leave_out":
            return self.responses
        cut = iter(self.cut)
        return [[r for r in row if not next(cut)] for row in self.responses]
