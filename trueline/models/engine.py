"""An inference engine (vLLM, SGLang) that samples in a policy's stead.

    y_1 … y_K ~ pi_engine(. | prompt),   logps[t] = log pi_engine(y_t) at the sampling temperature

A policy's adapter is saved, loaded into the running engine under the hash of its weights, and asked
for by that name: an answer is of those weights or there is none. K samples of every prompt, or an
error. `engine_forms` says what is sent.

1. Whenever the engine has the policy's weights, some of its log-probabilities are compared with
   ours: another model, an adapter that is not applied, or log-probabilities of another temperature
   (vLLM's are of temperature 1 without `--logprobs-mode processed_logprobs`) are no experiment.
2. With `lag`, an adapter is renewed once it is more than `lag` adapters old. What older weights
   said comes with their log-probabilities, by which the learner weighs it (`policy.losses`).

Equal streams repeat a roll as far as the engine keeps to seeds (SGLang under
--enable-deterministic-inference only). Shapes: B prompts, K samples. Units: nats.
Fails where the engine cannot read `folder`: on two machines it is to be a path that both see.

>>> Engine(endpoint=Endpoint(url="http://localhost:8000/v1", model="base")).lag
0
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.endpoint import Endpoint
from trueline.models.engine_forms import SGLANG, VLLM, Request, read
from trueline.models.generate import stop_ids
from trueline.models.growth import Continuation
from trueline.models.rollouts import Rollouts
from trueline.models.tokens import Encoded
from trueline.records import Prompt

__all__ = ["Engine"]

_TOKEN_BYTES = 512
"""The most an answer takes for a token, all told."""
_NUM_CHECKED = 4


@dataclass
class _State:
    """What the engine holds."""

    name: str | None = None
    seen: str | None = None
    """The last adapter that was to be sampled from."""
    age: int = 0
    """How many others came after the one held."""
    folder: Any = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A `Sampler`: set it as `policy.sampler`. It serves the adapters of one policy at a time."""

    endpoint: Endpoint
    """Where it is: http://host:8000/v1 (vLLM), http://host:30000 (SGLang); the trunk's name there;
    how long to wait (an answer is K whole samples), how often to retry, how many prompts at once.
    """
    lag: int = 0
    folder: str | Path | None = None
    """Where adapters are put for the engine to read; None: a temporary folder."""
    tolerance: float = 0.1
    """How far, in the mean of a token, its log-probabilities may be from ours."""
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.lag < 0 or not self.tolerance > 0:
            raise InputError("lag must be at least 0 and tolerance above 0", got=str(self))

    def roll(
        self,
        policy: BasePolicy,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
        max_new_tokens: int = 96,
    ) -> Rollouts:
        """K responses to each of B prompts, asked for by the main process alone."""
        codec = policy.trunk.codec
        if not prompts:
            return Rollouts.of(codec, [], [], [])
        prefixes = codec.prompt_ids(prompts, room=max_new_tokens)
        # What is not drawn is the same K times over, and vLLM refuses to say it twice.
        width = num_samples if temperature else 1
        seeds = rng.integers(2**31, size=(len(prompts), width)).tolist()
        # Of its own: only one process asks, and all must draw alike afterwards.
        jitter = np.random.default_rng(int(rng.integers(2**63)))
        stops = stop_ids(policy.trunk.model, codec)

        def ask() -> tuple[list[list[Continuation]], bool]:
            name, fresh = self._hold(policy, jitter)
            asked = [
                Request(name, prefix, row, temperature, max_new_tokens, stops)
                for prefix, row in zip(prefixes, seeds, strict=True)
            ]
            return self._ask(asked, jitter), fresh

        grown, fresh = policy.trunk.workers.once(ask)
        grown = [row * (num_samples // width) for row in grown]
        rolled = Rollouts.of(codec, prompts, prefixes, grown)
        if fresh:
            self._compare(policy, rolled, temperature)
        return rolled

    def _ask(self, asked: list[Request], jitter: np.random.Generator) -> list[list[Continuation]]:
        url, width = self.endpoint.url.rstrip("/"), len(asked[0].seeds)
        form = VLLM if url.endswith("/v1") else SGLANG
        own = dict(self.endpoint.extra)
        tables = [form.body(one, self.endpoint.model) | own for one in asked]
        tries = self.endpoint.post(
            form.path,
            [json.dumps(table).encode() for table in tables],
            partial(read, form, asked[0]),
            rng=jitter,
            most_bytes=2**20 + _TOKEN_BYTES * width * asked[0].max_new_tokens,
        )
        for b, tried in enumerate(tries):
            if tried.found is None:
                raise SetupError(
                    f"the engine must give {width} samples of every prompt",
                    got=f"{tried.reply.problem}, for prompt {b} of {len(tries)}",
                    do="see its log; raise timeout_s or retries, or lower concurrency",
                )
        return [tried.found for tried in tries]

    def _hold(self, policy: BasePolicy, jitter: np.random.Generator) -> tuple[str | None, bool]:
        """The adapter to sample with, loaded, and whether it has the policy's weights."""
        if not isinstance(policy, LoraPolicy):
            return None, True
        state, name = self._state, _name(policy)
        if name != state.seen:
            state.seen, state.age = name, state.age + 1
        if name != state.name and (state.name is None or state.age > self.lag):
            self._load(policy, name, jitter)
            state.age = 0
        return state.name, name == state.name

    def _load(self, policy: LoraPolicy, name: str, jitter: np.random.Generator) -> None:
        state = self._state
        if state.folder is None and self.folder is None:
            state.folder = tempfile.TemporaryDirectory(prefix="trueline-engine-")
        root = Path(self.folder or state.folder.name).resolve()
        policy.save(root / name)
        table = {"lora_name": name, "lora_path": str(root / name)}
        problem = self._tell("load_lora_adapter", table, jitter)
        # A name says which weights they are: what is there already is what was to be loaded.
        if problem is not None and "already" not in problem:
            raise SetupError(
                "the engine must load adapters while it runs",
                got=problem,
                do="start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora, SGLang "
                "with --enable-lora, --max-lora-rank and --lora-target-modules; it must see folder",
            )
        old, state.name = state.name, name
        if old is not None:
            # One that the engine has dropped by itself is gone as well.
            self._tell("unload_lora_adapter", {"lora_name": old}, jitter)
            shutil.rmtree(root / old, ignore_errors=True)

    def _tell(self, path: str, table: dict[str, str], jitter: np.random.Generator) -> str | None:
        """What the engine has against it."""
        try:
            (tried,) = self.endpoint.post(path, [json.dumps(table).encode()], None, rng=jitter)
        except SetupError as error:
            return str(error.got)
        return tried.reply.problem

    def _compare(self, policy: BasePolicy, rolled: Rollouts, temperature: float) -> None:
        """That the engine's log-probabilities are those of the policy, at the temperature."""
        at = np.unique(np.linspace(0, len(rolled.rows) - 1, _NUM_CHECKED).astype(int))
        said = np.concatenate([rolled.logps[i] for i in at])

        def gap(temperature: float) -> float:
            own = [_own_logps(policy, rolled.rows[i], temperature) for i in at]
            return float(np.abs(np.concatenate(own) - said).mean())

        found = gap(temperature or 1.0)
        if not found <= self.tolerance or (temperature and gap(1.0) < found):
            raise InvalidExperiment(
                "an engine's log-probabilities must be the policy's at the sampling temperature",
                got=f"{found:.3g} nats a token apart at temperature {temperature:g}",
                do="serve the trunk's own folder; vLLM: --logprobs-mode processed_logprobs; "
                "SGLang: unset SGLANG_RETURN_ORIGINAL_LOGPROB; for coarse weights raise tolerance",
            )


def _name(policy: LoraPolicy) -> str:
    """A name that only these weights on this trunk have."""
    digest = hashlib.sha256(policy.trunk.fingerprint().encode())
    config: Any = policy.adapted.peft_config["default"]
    digest.update(str(config.lora_alpha).encode())
    for name, parameter in sorted(policy.adapted.named_parameters()):
        if parameter.requires_grad:
            digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    return f"trueline-{digest.hexdigest()[:16]}"


@torch.no_grad()
def _own_logps(policy: BasePolicy, row: Encoded, temperature: float) -> np.ndarray:
    ids = torch.tensor([row.ids], device=policy.trunk.device)
    logits = policy.network(input_ids=ids, use_cache=False).logits[0, row.start - 1 : row.stop - 1]
    logps = torch.log_softmax(logits.float() / temperature, -1)
    said = ids[0, row.start : row.stop, None]
    return np.asarray(logps.gather(1, said)[:, 0].double().cpu().numpy())
