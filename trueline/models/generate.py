"""Batched sampling of responses with their log-probabilities, and raw completions.

    responses[b][k] ~ model(. | render(prompt_b)),   logp = sum_t log p(token_t) at the temperature

All randomness is drawn from the generator beforehand, in the order of the prompts: one row of
uniforms a sample (see `growth`), so that batching does not change what is said.

Shapes: B prompts, K samples per prompt. Units: nats.
Fails where a prompt leaves no room: `max_new_tokens` must be below the model's positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.models.growth import grow
from trueline.models.rollouts import Rollouts
from trueline.models.sharding import whole
from trueline.models.tokens import Codec
from trueline.records import Prompt

__all__ = ["complete", "roll", "roll_drawn", "stop_ids"]


def roll(
    model: Any,
    codec: Codec,
    prompts: Sequence[Prompt],
    *,
    num_samples: int,
    rng: np.random.Generator,
    temperature: float = 1.0,
    max_new_tokens: int = 96,
) -> Rollouts:
    """K responses to each of B prompts with their tokens and log-probabilities; temperature 0 is
    greedy.

    A response's `logp` is of the tokens said, with the end token where a reading has one (chat
    templates). A reading of the text differs from it where the response was cut at `max_new_tokens`
    (a reading always ends it), or where the model said a special token midway (the text leaves it
    out).
    """
    if num_samples < 1 or max_new_tokens < 1 or not temperature >= 0:
        raise InputError(
            "num_samples and max_new_tokens must be at least 1 and temperature at least 0",
            got=f"{num_samples}, {max_new_tokens} and {temperature}",
        )
    uniforms = rng.random((len(prompts), num_samples, max_new_tokens))
    return roll_drawn(model, codec, prompts, uniforms=uniforms, temperature=temperature)


def roll_drawn(
    model: Any,
    codec: Codec,
    prompts: Sequence[Prompt],
    *,
    uniforms: np.ndarray,
    temperature: float = 1.0,
) -> Rollouts:
    """The same with the randomness drawn already: uniforms [B, K, M], M the longest answer."""
    if not prompts:
        return Rollouts.of(codec, [], [], [])
    prefixes = codec.prompt_ids(prompts, room=uniforms.shape[2])
    grown = grow(
        model,
        prefixes,
        uniforms=uniforms,
        temperature=temperature,
        stop_ids=stop_ids(model, codec),
    )
    return Rollouts.of(codec, prompts, prefixes, grown)


def complete(
    model: Any,
    codec: Codec,
    token_prefixes: Sequence[list[int]],
    *,
    max_new_tokens: int,
    stop_ids: AbstractSet[int] = frozenset(),
    rng: np.random.Generator | None = None,
) -> list[list[int]]:
    """Continue raw token prefixes up to a stop token (left out): greedily, or sampled with `rng`.

    `stop_ids` come on top of the model's own end tokens.
    """
    if not token_prefixes:
        return []
    room = codec.max_tokens - max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens must be below the trunk's {codec.max_tokens} positions",
            got=str(max_new_tokens),
        )
    shape = (len(token_prefixes), 1, max_new_tokens)
    with whole(model):
        grown = grow(
            model,
            [(ids or [codec.first_id])[-room:] for ids in token_prefixes],
            uniforms=np.zeros(shape) if rng is None else rng.random(shape),
            temperature=0.0 if rng is None else 1.0,
            stop_ids=_own_ends(model, codec) | stop_ids,
        )
    return [row[0].ids for row in grown]


def stop_ids(model: Any, codec: Codec) -> frozenset[int]:
    """What ends an answer: the model's own end tokens and the tokenizer's."""
    said = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = said if isinstance(said, list) else [said]
    return frozenset(int(i) for i in (*listed, codec.end_id) if i is not None)


# `complete` has a parameter of that name.
_own_ends = stop_ids
