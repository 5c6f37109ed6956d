"""An inference engine on this machine around a real model, which goes wrong on schedule.

It samples as `Trunk`s do, serves the adapters it is told to load from their folders, and speaks
vLLM's form at `url` and SGLang's at `host`. Sample k has the uniforms of seed `seed + k`, so that
a request is answered alike whenever it comes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.fake_endpoint import Loopback
from trueline.models.growth import grow
from trueline.models.tokens import Encoded
from trueline.models.trunk import Trunk

__all__ = ["ENGINE_FAULTS", "FakeEngine"]

ENGINE_FAULTS = (
    *("stall", "429", "500", "dropped", "cut json", "html", "few choices", "aborted"),
    *("no ids", "no end", "raw logprobs", "stale weights"),
)
"""What can go wrong with samples. "no end" leaves the stop token out of them, "raw logprobs" are
those of temperature 1, "stale weights" the trunk's own whatever adapter was asked for."""


class _Row(NamedTuple):
    """One sample as it is told."""

    ids: list[int]
    logps: list[float]
    finish: str
    end_id: int | None


@dataclass(eq=False)
class FakeEngine(Loopback):
    """Serves `trunk` as "base"."""

    trunk: Trunk
    faults: Sequence[str] = ENGINE_FAULTS
    share: float = 0.0
    """Of requests for samples that meet one of the faults."""
    token_ids: bool = True
    """vLLM's `token_ids`; else only "token_id:N" among the log-probabilities."""
    key: str | None = None
    seed: int = 0
    refusal: str = "wrong key"
    retry_after: str = "0.02"
    log: list[tuple[str, str]] = field(default_factory=list)
    """Every request's path and the adapter it names."""

    def __post_init__(self) -> None:
        self.policies: dict[str, BasePolicy] = {"base": BasePolicy(self.trunk)}
        self._lock = threading.Lock()

    def serve(self, path: str, sent: Any) -> tuple[str | None, int, object]:
        names = sent.get("lora_path") if path == "/generate" else sent.get("model")
        name = sent.get("lora_name") or (names[0] if isinstance(names, list) else names or "base")
        self.log.append((path, name))
        with self._lock:
            path = path.removeprefix("/v1")
            if path == "/load_lora_adapter":
                if name in self.policies:
                    return None, 400, _error(f"The lora adapter '{name}' has already been loaded.")
                self.policies[name] = LoraPolicy.load(self.trunk, sent["lora_path"])
                return None, 200, "Success"
            if path == "/unload_lora_adapter":
                gone = self.policies.pop(name, None)
                return None, 404 if gone is None else 200, "Gone"
            if path not in ("/generate", "/completions"):
                return None, 404, {}
            if name not in self.policies:
                return None, 404, _error(f"The model `{name}` does not exist.")
            fault = self.fault(sent)
            policy = self.policies["base" if fault == "stale weights" else name]
            native = path == "/generate"
            return fault, 200, (self._sglang if native else self._vllm)(policy, sent, fault)

    def _vllm(self, policy: BasePolicy, sent: Any, fault: str | None) -> object:
        seeds = [sent["seed"] + k for k in range(sent["n"])]
        rows = self._sample(policy, sent["prompt"], seeds, sent["max_tokens"], sent, fault)
        choices = [
            {
                "index": index,
                "finish_reason": row.finish,
                "stop_reason": row.end_id,
                "logprobs": {
                    "tokens": ["a" if fault == "no ids" else f"token_id:{i}" for i in row.ids],
                    "token_logprobs": row.logps,
                },
                "token_ids": row.ids if self.token_ids and fault != "no ids" else None,
            }
            for index, row in enumerate(rows)
        ]
        return {"choices": choices[::-1][int(fault == "few choices") :]}

    def _sglang(self, policy: BasePolicy, sent: Any, fault: str | None) -> object:
        how, (prefix, *_) = sent["sampling_params"], sent["input_ids"]
        seeds, room = [one["sampling_seed"] for one in how], how[0]["max_new_tokens"]
        answers = []
        for row in self._sample(policy, prefix, seeds, room, how[0], fault):
            pairs = [[logp, i, None] for logp, i in zip(row.logps, row.ids, strict=False)]
            given = None if fault == "no ids" else pairs
            meta = {"finish_reason": {"type": row.finish}, "output_token_logprobs": given}
            answers.append({"text": "", "meta_info": meta})
        return answers[int(fault == "few choices") :]

    def _sample(
        self,
        policy: BasePolicy,
        prefix: list[int],
        seeds: list[int],
        room: int,
        how: Any,
        fault: str | None,
    ) -> list[_Row]:
        drawn = np.stack([np.random.default_rng(seed).random(room) for seed in seeds])
        (grown,) = grow(
            policy.network,
            [prefix],
            uniforms=drawn[None],
            stop_ids=frozenset(how["stop_token_ids"]),
            temperature=how["temperature"],
        )
        rows = []
        for one in grown:
            said = [*one.ids, *([] if one.end_id is None else [one.end_id])]
            logps = one.token_logps.tolist()
            if fault == "raw logprobs":
                whole = Encoded(prefix + said, len(prefix), len(prefix) + len(said))
                logps = policy.token_logps([whole], grad=False)[0][0].tolist()
            finish = "length" if one.end_id is None else "stop"
            finish = "abort" if fault == "aborted" else finish
            rows.append(_Row(one.ids if fault == "no end" else said, logps, finish, one.end_id))
        return rows


def _error(message: str) -> object:
    return {"error": {"message": message}}
