"""What a policy said, token by token: what an optimiser that learns from its own samples needs.

    rows[n] = prompt tokens + the very tokens sampled,   logps[n, t] = log pi_sampler(token_t)

A text tokenised again need not give the tokens it was sampled as, and a text that was cut has no
end: so the tokens are kept beside the text. A stop token that was said is part of a row.

Shapes: B prompts, K samples of each, N = B K rows, T tokens of a row. Units: nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline.models.growth import Continuation
from trueline.models.tokens import Codec, Encoded
from trueline.records import Prompt, Response

__all__ = ["Rollouts"]


@dataclass(frozen=True)
class Rollouts:
    """K samples of each of B prompts; row `b * K + k` is sample k of prompt b."""

    responses: list[list[Response]]
    rows: list[Encoded]
    logps: list[np.ndarray]
    """Each float64 [T], of the row's response tokens under the sampler, at its temperature."""
    ended: np.ndarray
    """bool [N]: it said a stop token; what did not was cut."""

    @classmethod
    def of(
        cls,
        codec: Codec,
        prompts: Sequence[Prompt],
        prefixes: Sequence[list[int]],
        grown: Sequence[Sequence[Continuation]],
    ) -> Rollouts:
        """From continuations of the prompts' tokens."""
        flat = [
            (prompt, before, c)
            for prompt, before, row in zip(prompts, prefixes, grown, strict=True)
            for c in row
        ]
        texts = codec.texts(
            [prompt for prompt, _, _ in flat],
            [before for _, before, _ in flat],
            [c.ids for _, _, c in flat],
        )
        responses, rows = [], []
        for (prompt, before, c), text in zip(flat, texts, strict=True):
            said = c.ids if c.end_id is None else [*c.ids, c.end_id]
            ends = codec.appends_end and c.end_id is not None
            logp = c.logp + (c.end_logp if ends else 0.0)
            length = len(c.ids) + int(ends)
            responses.append(Response(prompt=prompt, text=text, logp=logp, num_tokens=length))
            rows.append(Encoded([*before, *said], len(before), len(before) + len(said)))
        width = len(grown[0]) if grown else 1
        return cls(
            responses=[responses[i : i + width] for i in range(0, len(responses), width)],
            rows=rows,
            logps=[c.token_logps for _, _, c in flat],
            ended=np.array([c.end_id is not None for _, _, c in flat], dtype=bool),
        )

    @property
    def flat(self) -> list[Response]:
        """All N responses, row by row."""
        return [response for row in self.responses for response in row]
