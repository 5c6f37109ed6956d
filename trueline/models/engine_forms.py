"""What is asked of an engine and how its answer is read: vLLM's form and SGLang's.

    ids[t], logps[t], t = 1 … T:  the tokens it sampled, the stop token among them where it said one

vLLM: `/v1/completions` with `return_token_ids` and `return_tokens_as_token_ids` (docs.vllm.ai:
serving/openai_compatible_server); sample k of a prompt has the seed `seed + k`. SGLang: `/generate`
with `input_ids` and `return_logprob` (docs.sglang.io: basic_usage/sampling_params), one row a
sample, because the K samples of one row share their seed.

Tokens are the engine's own, never a text tokenised again: an engine that gives none is refused. The
filters that engines read from a model's `generation_config` (top-k, top-p, penalties) are off.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np

from trueline.errors import SetupError
from trueline.models.endpoint import Try, failed
from trueline.models.growth import Continuation
from trueline.records import Reply

__all__ = ["SGLANG", "VLLM", "Form", "Request", "read"]


class Request(NamedTuple):
    """K samples of one prompt."""

    name: str | None
    """The adapter; None: the model itself."""
    prefix: list[int]
    seeds: list[int]
    """K of them."""
    temperature: float
    max_new_tokens: int
    stop_ids: AbstractSet[int]


Said = tuple[list[int], list[float], str]
"""A sample's tokens, their log-probabilities and why it ended."""


class Form(NamedTuple):
    """One engine's way."""

    path: str
    body: Callable[[Request, str], dict[str, Any]]
    said: Callable[[Any], list[Said]]


def read(form: Form, asked: Request, data: bytes, *, sent: bytes) -> Try:
    """The K continuations in an answer; one that is incomplete may be asked for again."""
    try:
        rows = [_continuation(*one, asked.stop_ids) for one in form.said(json.loads(data))]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return failed("an answer of no known form")
    if len(rows) != len(asked.seeds):
        return failed(f"{len(rows)} samples of {len(asked.seeds)}")
    return Try(Reply(""), again=False, found=rows)


def _continuation(
    ids: list[int], logps: list[float], ended: str, stop_ids: AbstractSet[int]
) -> Continuation:
    given = np.array(logps, dtype=np.float64)
    sound = 0 < len(ids) == len(given) and all(type(i) is int and i >= 0 for i in ids)
    if not sound or not ((given > -1e5) & (given < 1e-3)).all() or ended not in ("stop", "length"):
        raise ValueError("tokens and log-probabilities must be of one finished sample")
    end = next((t for t, token in enumerate(ids) if token in stop_ids), None)
    if end is not None:
        return Continuation(ids[:end], given[: end + 1], ids[end])
    if ended == "stop":
        raise SetupError(
            "an engine must end a sample at a stop token of the trunk, and give it",
            got=f"a sample that stopped at token {ids[-1]}",
            do="serve the trunk's own folder, without stop texts",
        )
    return Continuation(ids, given, None)


def _sampling(asked: Request) -> dict[str, Any]:
    return {
        "temperature": asked.temperature,
        "stop_token_ids": sorted(asked.stop_ids),
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,
    }


def _vllm_body(asked: Request, model: str) -> dict[str, Any]:
    return {
        "model": asked.name or model,
        "prompt": asked.prefix,
        "n": len(asked.seeds),
        "seed": asked.seeds[0],
        "max_tokens": asked.max_new_tokens,
        "logprobs": 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        **_sampling(asked),
    }


def _vllm_said(table: Any) -> list[Said]:
    said = []
    for choice in sorted(table["choices"], key=lambda choice: int(choice["index"])):
        given = choice.get("logprobs") or {}
        ids, tokens = choice.get("token_ids"), given.get("tokens") or []
        if ids is None and all(str(token).startswith("token_id:") for token in tokens):
            ids = [int(token[9:]) for token in tokens]
        logps, ended = given.get("token_logprobs"), str(choice["finish_reason"])
        if ids is None or logps is None:
            raise _refused("neither token_ids nor token_id:… with token_logprobs")
        if ended == "stop" and len(logps) == len(ids) + 1:
            ids = [*ids, int(choice["stop_reason"])]
        said.append((list(ids), list(logps), ended))
    return said


def _sglang_body(asked: Request, model: str) -> dict[str, Any]:
    table = {**_sampling(asked), "max_new_tokens": asked.max_new_tokens}
    return {
        "input_ids": [asked.prefix] * len(asked.seeds),
        "sampling_params": [{**table, "sampling_seed": seed} for seed in asked.seeds],
        "return_logprob": True,
        **({"lora_path": [asked.name] * len(asked.seeds)} if asked.name else {}),
    }


def _sglang_said(table: Any) -> list[Said]:
    said = []
    for answer in table if isinstance(table, list) else [table]:
        pairs = answer["meta_info"].get("output_token_logprobs")
        if not pairs:
            raise _refused("no output_token_logprobs")
        ended = str(answer["meta_info"]["finish_reason"]["type"])
        said.append(([pair[1] for pair in pairs], [pair[0] for pair in pairs], ended))
    return said


def _refused(got: str) -> SetupError:
    return SetupError(
        "an engine must give the tokens it sampled and their log-probabilities",
        got=got,
        do="use vLLM from 0.10.2 by its /v1, or SGLang by its url without /v1",
    )


VLLM = Form("completions", _vllm_body, _vllm_said)
SGLANG = Form("generate", _sglang_body, _sglang_said)
