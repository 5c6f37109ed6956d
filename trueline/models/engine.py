"""Let an inference engine (vLLM) sample in a policy's stead.

    y_1 … y_K ~ pi_engine(. | prompt),   logps[t] = log pi_engine(y_t) at the sampling temperature

A policy's adapter is saved, loaded into the running engine under the hash of its weights, and asked
for by that name. Some of the engine's log-probabilities are compared with ours each time: another
model, an adapter that is not applied, or log-probabilities of another temperature (vLLM's are of
temperature 1 without `--logprobs-mode processed_logprobs`) are an error.

Requests are `/v1/completions` with `return_token_ids` (docs.vllm.ai:
serving/openai_compatible_server), without the filters that engines read from a model's
`generation_config`. Equal streams repeat a sample as far as the engine keeps to seeds.

Shapes: B prompts, K samples. Units: nats.
Fails where the engine cannot read `folder`: on two machines it is to be a path that both see.

    policy.sampler = Engine(endpoint=Endpoint(url="http://localhost:8000/v1", model="base"))
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.chat_format import Encoded
from trueline.models.endpoint import Endpoint
from trueline.models.rollouts import Completion, Rollouts
from trueline.models.sampling import end_ids
from trueline.records import Prompt, Reply

__all__ = ["Engine", "read_samples"]

_NUM_CHECKED = 4
_TOLERANCE = 0.1
"""How far, in nats and the mean of a token, its log-probabilities may be from ours."""
_OPTIONS = {
    "logprobs": 0,
    "return_token_ids": True,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "skip_special_tokens": False,
    # Answers end at the stops that are sent, whatever the engine takes for an end besides.
    "ignore_eos": True,
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A `Sampler`: set it as `policy.sampler`. It serves the adapters of one policy at a time."""

    endpoint: Endpoint
    """Where it is (http://host:8000/v1), the trunk's name there, how long to wait (an answer is K
    whole samples), how often to retry, how many prompts at once."""
    folder: str | Path | None = None
    """Where adapters are put for the engine to read; None: a temporary folder."""
    _loaded: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    """The name of the adapter that the engine holds, if any."""

    def rollouts(
        self,
        policy: BasePolicy,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
        max_new_tokens: int = 96,
    ) -> Rollouts:
        """Return K responses to each of B prompts, asked for by the main process alone."""
        codec = policy.trunk.codec
        if policy.sampling.top_p < 1:
            must = "top_p must be 1 where an engine samples: its log-probabilities follow top_p"
            raise InputError(must, got=str(policy.sampling.top_p))
        if not prompts:
            return Rollouts.of(codec, [], [], [])
        prefixes = codec.prompt_ids(prompts, room=max_new_tokens)
        # Greedy samples are the same K times over, and vLLM refuses to give one twice.
        width = num_samples if temperature else 1
        seeds = rng.integers(2**31, size=len(prompts)).tolist()
        stops = end_ids(policy.trunk.model, codec)
        asked: dict[str, Any] = {"n": width, "max_tokens": max_new_tokens}
        asked |= {"temperature": temperature, "stop_token_ids": sorted(stops), **_OPTIONS}

        def ask() -> list[list[Completion]]:
            adapter = self.load(policy) if isinstance(policy, LoraPolicy) else None
            options = {"model": adapter or self.endpoint.model, **asked}
            pairs = zip(prefixes, seeds, strict=True)
            tables = [{"prompt": prefix, "seed": seed, **options} for prefix, seed in pairs]
            read = partial(read_samples, num_samples=width, stops=stops)
            answers = self.endpoint.post("completions", tables, read)
            lost = next((answer for answer in answers if isinstance(answer, Reply)), None)
            if lost is not None:
                must = "the engine must give all samples of every prompt"
                do = "see its log; raise timeout_s or retries, or lower concurrency"
                raise SetupError(must, got=lost.problem, do=do)
            return answers

        completions = [row * (num_samples // width) for row in policy.trunk.workers.once(ask)]
        rollouts = Rollouts.of(codec, prompts, prefixes, completions)
        self._check(policy, rollouts, temperature)
        return rollouts

    def load(self, policy: LoraPolicy) -> str:
        """Make the engine hold the policy's adapter; return its name there."""
        name, root = _name(policy), Path(self.folder or self._temporary.name).resolve()
        if name in self._loaded:
            return name
        policy.save(root / name)
        table = {"lora_name": name, "lora_path": str(root / name)}
        try:
            (answer,) = self.endpoint.post("load_lora_adapter", [table], str)
            problem = answer.problem if isinstance(answer, Reply) else None
        except SetupError as error:
            problem = error.got
        # A name says which weights they are: what is there already is what was to be loaded.
        if problem and "already" not in problem:
            raise SetupError(
                "the engine must load adapters while it runs",
                got=problem,
                do="start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora; it must "
                "see folder",
            )
        while self._loaded:
            # One that the engine has dropped by itself is gone as well: no answer is looked at.
            self.endpoint.post("unload_lora_adapter", [{"lora_name": self._loaded[0]}], str)
            shutil.rmtree(root / self._loaded.pop(), ignore_errors=True)
        self._loaded.append(name)
        return name

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="trueline-engine-")

    def _check(self, policy: BasePolicy, rollouts: Rollouts, temperature: float) -> None:
        """Refuse log-probabilities that are not the policy's at the temperature."""
        at = np.unique(np.linspace(0, len(rollouts.rows) - 1, _NUM_CHECKED).astype(int))
        theirs = np.concatenate([rollouts.logps[i] for i in at])

        def gap(temperature: float) -> float:
            own = [_own_logps(policy, rollouts.rows[i], temperature) for i in at]
            return float(np.abs(np.concatenate(own) - theirs).mean())

        apart = gap(temperature or 1.0)
        # Nearer to temperature 1 than to the one asked for: they are not of the sampler.
        if not apart <= _TOLERANCE or (temperature and gap(1.0) < apart):
            raise InvalidExperiment(
                "an engine's log-probabilities must be the policy's at the sampling temperature",
                got=f"{apart:.3g} nats a token apart at temperature {temperature:g}",
                do="serve the trunk's own folder with --logprobs-mode processed_logprobs",
            )


def read_samples(answer: Any, num_samples: int, stops: AbstractSet[int]) -> list[Completion]:
    """Return the K completions in an answer; `ValueError` says why asking again may help.

    An engine that can never be used (no tokens, no log-probabilities) is a `SetupError`.
    """
    try:
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        rows = [_completion(choice, stops) for choice in choices]
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        raise ValueError("an answer of no known form") from None
    if len(rows) != num_samples:
        raise ValueError(f"{len(rows)} samples of {num_samples}")
    return rows


def _completion(choice: Any, stops: AbstractSet[int]) -> Completion:
    """Return one sample of an answer; `ValueError` or the like where it is not whole."""
    ids, table = choice.get("token_ids"), choice.get("logprobs") or {}
    logps, ended = table.get("token_logprobs"), choice["finish_reason"]
    if ids is None or logps is None:
        raise SetupError(
            "an engine must give the tokens it sampled and their log-probabilities",
            got="no token_ids or no token_logprobs",
            do="use vLLM from 0.10.2 by its /v1",
        )
    numbers = np.array(list(logps), dtype=np.float64)
    sound = 0 < len(ids) == len(numbers) and all(type(i) is int and i >= 0 for i in ids)
    likely = ((numbers > -1e5) & (numbers < 1e-3)).all()
    if not sound or not likely or ended not in ("stop", "length"):
        raise ValueError("tokens and log-probabilities must be of one finished sample")
    end = next((t for t, token in enumerate(ids) if token in stops), None)
    if end is not None:
        return Completion(ids[:end], numbers[: end + 1], ids[end])
    if ended == "stop":
        raise SetupError(
            "an engine must end a sample at a stop token of the trunk, and give it",
            got=f"a sample that stopped at token {ids[-1]}",
            do="serve the trunk's own folder, without stop texts",
        )
    return Completion(ids, numbers, None)


def _name(policy: LoraPolicy) -> str:
    """Return a name that only these weights on this trunk have."""
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
    return logps.gather(1, ids[0, row.start : row.stop, None])[:, 0].double().cpu().numpy()
