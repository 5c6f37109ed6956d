"""Give an Inspect task a scorer of ours, its uncertainty in the sample's metadata.

    Task(dataset=..., scorer=inspect(reward))

Written against Inspect 0.3.285. The prompt is every message before the first one that the model
generated (few-shot turns are input), the answer everything from there on but reasoning; the target
and the sample's metadata go into `Prompt.meta`, the target as `answer`. Unscored is
`Score.unscored`: left out of Inspect's metrics and counted in its `unscored_samples`. Samples are
scored one after another, in a thread beside the event loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trueline.errors import SetupError
from trueline.plugs.turns import check_use, dialogue
from trueline.protocols import Scorer
from trueline.records import Outcome, Prompt

try:
    import anyio
    import anyio.to_thread
    from inspect_ai import scorer as theirs
except ImportError:
    raise SetupError(
        "Inspect must be installed", got="no inspect_ai", do="pip install 'trueline[inspect]'"
    ) from None

__all__ = ["inspect"]

COLUMNS = ("mean", "std", "lower", "novelty")


def inspect(scorer: Scorer, *, use: str = "lower", name: str = "trueline") -> Any:
    """Return an Inspect scorer; `use`: "lower" or "mean"; `name`: what the log calls it."""
    check_use(use)
    one_at_a_time = anyio.CapacityLimiter(1)

    async def score(state: Any, target: Any) -> theirs.Score:
        prompt, text = _read(state, target.text)
        (row,) = await anyio.to_thread.run_sync(
            scorer.score, [prompt], [text], limiter=one_at_a_time
        )
        if row.outcome is Outcome.UNSCORED:
            why = row.reason or "no reason given"
            return theirs.Score.unscored(reason="scoring_failed", answer=text, explanation=why)
        numbers = {name: float(getattr(row, name)) for name in COLUMNS}
        ends = zip(("low", "high"), row.rater_interval or (), strict=False)
        numbers |= {name: end for name, end in ends if np.isfinite(end)}
        return theirs.Score(
            value=numbers[use],
            answer=text,
            explanation=", ".join(f"{name} {number:.3f}" for name, number in numbers.items()),
            metadata=numbers,
        )

    # The scorer itself is no argument of the factory: Inspect writes those into its log.
    def factory(use: str) -> theirs.Scorer:
        return score

    return theirs.scorer(metrics=[theirs.mean(), theirs.stderr()], name=name)(factory)(use)


def _read(state: Any, target: str) -> tuple[Prompt, str]:
    turns = list(state.messages)
    made = [turn.role == "assistant" and turn.source == "generate" for turn in turns]
    start = made.index(True) if True in made else len(turns)
    spoken = [_turn(turn) for turn in turns[start:]]
    # A solver may have put another answer in the place of the last one generated.
    if sum(made) <= 1:
        spoken = [{"role": "assistant", "content": state.output.completion}]
    return dialogue([_turn(t) for t in turns[:start]], spoken, {**state.metadata, "answer": target})


def _turn(message: Any) -> dict[str, Any]:
    calls = [
        {"name": call.function, "arguments": call.arguments}
        for call in getattr(message, "tool_calls", None) or ()
    ]
    content = message.content
    if not isinstance(content, str):
        parts = [part for part in content if part.type != "reasoning"]
        content = [{"type": part.type, "text": getattr(part, "text", "")} for part in parts]
    return {"role": message.role, "content": content, "tool_calls": calls}
