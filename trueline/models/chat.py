"""Use the trunk, with or without an adapter, as a `ChatModel`: dialogues in, text out; or the
probabilities of a few words (`choose`). `Together` joins what many threads ask into one batch.

Content that spells one of the tokenizer's special tokens ("<|im_end|>") is pulled apart before,
since it would be read as the token and end the turn. Without a chat template the dialogue is
running text, and what the model writes for its interlocutor ("\\n\\nHuman:") is cut off.

A dialogue longer than the model can hold has a `problem` (a policy would drop its beginning, and
with it the rules); so has a reply that took every token it was given.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from trueline.errors import DataError
from trueline.models.adapters import BasePolicy
from trueline.protocols import ChatModel
from trueline.records import Message, Prompt, Reply, Response

__all__ = ["LocalChatModel", "Together"]

_TURN = threading.Lock()
"""Held while a model of this process speaks."""
_LINGER_S = 0.02


@dataclass(frozen=True)
class LocalChatModel:
    """Answer as `policy` does: `BasePolicy(trunk)`, or a `LoraPolicy`."""

    policy: BasePolicy
    temperature: float = 1.0
    max_new_tokens: int = 512
    """Where a reply is cut; at most half of what the model can hold."""

    def say(
        self, dialogues: Sequence[Sequence[Message]], *, rng: np.random.Generator
    ) -> list[Reply]:
        """Return one reply a dialogue, in order; see above for what is a problem."""
        codec = self.policy.trunk.codec
        room = min(self.max_new_tokens, codec.max_tokens // 2)
        prompts = [self._prompt(turns) for turns in dialogues]
        fitting = self._fitting(prompts, room)
        sampled = self.policy.sample(
            [prompts[i] for i in fitting],
            num_samples=1,
            rng=rng,
            temperature=self.temperature,
            max_new_tokens=room,
        )
        lost = Reply("", problem="the dialogue is longer than the model can hold")
        replies = [lost] * len(prompts)
        for i, (response,) in zip(fitting, sampled, strict=True):
            text = response.text if codec.chat else response.text.partition("\n\nHuman:")[0]
            num_tokens = response.num_tokens or 0
            problem = "cut off at max_new_tokens" if num_tokens >= room else None
            replies[i] = Reply(text.strip(), num_tokens=num_tokens, problem=problem)
        return replies

    def choose(
        self, dialogues: Sequence[Sequence[Message]], words: Sequence[str]
    ) -> list[list[float] | None]:
        """Return for each dialogue the probabilities of these words as what is said first, of 1
        together; None where it is longer than the model can hold."""
        prompts = [self._prompt(turns) for turns in dialogues]
        fitting = self._fitting(prompts, room=8)
        said = [Response(prompt=prompts[i], text=word) for i in fitting for word in words]
        rows = self.policy.trunk.codec.encode(said)
        found: list[list[float] | None] = [None] * len(prompts)
        if rows:
            logps = self.policy.token_logps(rows, grad=False)[0].double()
            for logp, row in zip(logps, rows, strict=True):
                # Whether the turn then ends is no matter.
                logp[row.stop - row.start - row.end :] = 0
            sums = logps.sum(1).reshape(-1, len(words))
            for i, row_of_sums in zip(fitting, sums.softmax(-1), strict=True):
                found[i] = row_of_sums.tolist()
        return found

    def _fitting(self, prompts: Sequence[Prompt], room: int) -> list[int]:
        """Return which prompts leave so much room."""
        codec = self.policy.trunk.codec
        lengths = [len(ids) for ids in codec.prompt_ids(prompts, room=room)] if prompts else []
        return [i for i, length in enumerate(lengths) if length < codec.max_tokens - room]

    def _prompt(self, turns: Sequence[Message]) -> Prompt:
        """Return the dialogue without special tokens; as one turn if the template refuses it."""
        codec = self.policy.trunk.codec
        added = codec.tokenizer.added_tokens_decoder.values()
        special = "|".join(re.escape(token.content) for token in added if token.special) or "(?!)"
        # A space after the first character: the same to read, another token.
        plain = [re.sub(special, lambda m: f"{m[0][0]} {m[0][1:]}", t.content) for t in turns]
        spoken = (Message(t.role, text) for t, text in zip(turns, plain, strict=True))
        prompt = Prompt(messages=tuple(spoken))
        try:
            codec.render(prompt)
        except DataError:
            return Prompt.of("\n\n".join(plain))
        return prompt


@dataclass(eq=False)
class Together:
    """Ask a model once for all dialogues that threads wait for at the same time; for a model that
    draws nothing (temperature 0), since one `rng` serves them all."""

    model: ChatModel
    _waiting: list[tuple[Sequence[Sequence[Message]], Future[list[Reply]]]] = field(
        default_factory=list, init=False, repr=False
    )

    def say(
        self, dialogues: Sequence[Sequence[Message]], *, rng: np.random.Generator
    ) -> list[Reply]:
        """Return one reply a dialogue, in order, whoever asked the model for it."""
        mine: Future[list[Reply]] = Future()
        self._waiting.append((dialogues, mine))
        with _TURN:
            if not mine.done():
                time.sleep(_LINGER_S)
                taken = [self._waiting.pop(0) for _ in range(len(self._waiting))]
                try:
                    replies = self.model.say(
                        [turns for asked, _ in taken for turns in asked], rng=rng
                    )
                except BaseException as error:
                    for _, future in taken:
                        future.set_exception(error)
                    raise
                for asked, future in taken:
                    future.set_result(replies[: len(asked)])
                    replies = replies[len(asked) :]
        return mine.result()
