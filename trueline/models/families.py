"""Try a model once, and refuse what would be read, sampled or trained wrongly.

Families differ in where their blocks lie, what runs after them, how positions are told and what
stands in a cache. Rather than list them, each model is tried on a few short rows when it is loaded:
what is read of rows together must be what a plain pass computes for each alone, and sampled tokens
must have the log-probabilities of a plain pass. Fused experts are parameters, not linear maps, and
are named to peft one by one.

Weights parted among processes are not tried.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from trueline.errors import SetupError
from trueline.models.forward import blocks_of
from trueline.models.sampling import generate
from trueline.records import Prompt, Response

__all__ = ["check_reading", "check_sampling", "put_adapters"]

_ROWS = (("One two three four", " five six seven."), ("Eight", " nine, ten."))
_MOVED = {"gate", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"}
"""Of a mixture peft takes maps of these names for its experts, wherever they are: they are given to
it as parameters, which it leaves where they are."""
_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def check_reading(trunk: Any) -> None:
    """Raise `SetupError` unless each layer and log-probability that is read is that of a plain pass
    over the row alone."""
    if trunk.sharded:
        return
    rows = trunk.codec.encode([Response(prompt=Prompt.of(p), text=t) for p, t in _ROWS])

    def faults() -> str | None:
        latents, columns = trunk._pass(rows, trunk.layers)
        for i, row in enumerate(rows):
            out = _plain(trunk.model, row.ids, output_hidden_states=True)
            states = out.hidden_states
            if (
                not trunk.is_encoder
                and "past_key_values" not in inspect.signature(trunk.model.forward).parameters
            ):
                # State-space models list what leaves their blocks, without what goes in.
                first = trunk.model.get_input_embeddings()(_tensor(row.ids, trunk.model))
                states = (first, *states[: trunk.num_layers - 1], states[-1])
            for at, layer in enumerate(trunk.layers):
                hidden = states[layer][0, row.stop - 1]
                if not _same(torch.from_numpy(latents[i, at, 0]), hidden, trunk):
                    return f"another layer {layer}"
            if columns is not None:
                logps = _logps(out.logits[0], row.ids)[row.start - 1 : row.stop - 1]
                if not _same(torch.tensor([-columns[i, 0]]), logps.sum()[None], trunk):
                    return "other log-probabilities"
        return None

    _refuse(trunk, faults, "be read alike together and one by one", "use a model of another family")


def check_sampling(trunk: Any) -> None:
    """Raise `SetupError` unless tokens sampled side by side, with a cache, have the
    log-probabilities of a plain pass; tried once a trunk."""
    if trunk.sharded or trunk.samples:
        return
    prefixes = trunk.codec.prompt_ids([Prompt.of(p) for p, _ in _ROWS])

    def faults() -> str | None:
        uniforms = np.full((len(prefixes), 2, 3), 0.5)
        found = generate(trunk.model, prefixes, uniforms=uniforms, stop_ids=frozenset())
        for prefix, (said, _) in zip(prefixes, found, strict=True):
            logits = _plain(trunk.model, prefix + said.ids).logits[0]
            plain = _logps(logits, prefix + said.ids)[len(prefix) - 1 :]
            if not _same(torch.from_numpy(said.token_logps), plain, trunk):
                return "other log-probabilities"
        return None

    do = "use it for a reward only, or a model of another family"
    _refuse(trunk, faults, "give the same tokens with a cache and without", do)
    trunk.samples = True


def put_adapters(trunk: Any, config: LoraConfig, twin: Callable[[], Any]) -> Any:
    """Return a twin of the trunk's model with fresh adapters on its linear maps and all experts of
    a mixture; say which linear maps get none, since the model does not run them as such."""
    model, kind, experts = trunk.model, trunk.model.config.model_type, experts_of(trunk.model)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    # A router that is a linear map by its class returns more than one tensor.
    left_out = [name for name, module in linear.items() if "Router" in type(module).__name__]
    head = model.get_output_embeddings()
    while True:
        where: dict[str, Any] = {"target_modules": "all-linear"}
        if experts:
            kept = [n for n, m in linear.items() if m is not head and n not in left_out]
            moved = {n for n in kept if n.rsplit(".", 1)[-1] in _MOVED}
            where["target_modules"] = [n for n in kept if n not in moved]
            where["target_parameters"] = experts + sorted(f"{n}.weight" for n in moved)
        given = replace(config, exclude_modules=left_out or None, **where)
        try:
            adapted: Any = get_peft_model(twin(), given)
            idle = [] if trunk.sharded else Context().run(_idle, adapted, trunk)
        except _FAULTS as error:
            got = " ".join(str(error).split())[:160]
            do = "improve no policy on it: rewards need none"
            raise SetupError(f"a {kind} model must take adapters", got=got, do=do) from error
        if not idle:
            break
        left_out += idle
    blocks = next(path for path, module in model.named_modules() if module is blocks_of(model))
    parts = [name.removeprefix(blocks).split(".") for name in left_out if name.startswith(blocks)]
    if told := {".".join(p for p in part if p and not p.isdigit()) for part in parts}:
        without = ", ".join(sorted(told))
        warnings.warn(f"no adapter is put on {without} of this {kind} model", stacklevel=3)
    return adapted


def experts_of(model: Any) -> list[str]:
    """Return the names of the parameters that hold the weights of a mixture's experts, fused."""
    names = []
    for path, module in model.named_modules():
        kind = type(module).__name__.lower()
        if "expert" in kind and not isinstance(module, nn.Linear | nn.ModuleList | _ConvNd):
            own = module.named_parameters(recurse=False)
            names += [f"{path}.{n}" for n, p in own if p.dim() >= 2 and "bias" not in n]
    return names


def _idle(adapted: Any, trunk: Any) -> list[str]:
    """Return the adapted linear maps that a pass does not go through; an expert that no token of it
    was sent to is none."""
    ids = trunk.codec.prompt_ids([Prompt.of(" ".join(_ROWS[0]))])[0]
    with torch.enable_grad():
        _plain(adapted.get_base_model(), ids, use_cache=False).logits.float().sum().backward()
    idle = {n for n, p in adapted.named_parameters() if p.requires_grad and p.grad is None}
    for parameter in adapted.parameters():
        parameter.grad = None
    paths = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in idle}
    return sorted(path for path in paths if "expert" not in path)


def _refuse(trunk: Any, faults: Callable[[], str | None], what: str, do: str) -> None:
    try:
        with torch.inference_mode():
            # Nothing that the caller's own pass asked for is to act here.
            fault = Context().run(faults)
    except _FAULTS as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    if fault is not None:
        name = trunk.model.config.model_type
        raise SetupError(f"a {name} model must {what}", got=fault, do=do)


def _plain(model: Any, ids: list[int], **how: Any) -> Any:
    return model(input_ids=_tensor(ids, model), **how)


def _tensor(ids: list[int], model: Any) -> Tensor:
    return torch.tensor([ids], device=model.device)


def _logps(logits: Tensor, ids: list[int]) -> Tensor:
    """Return the log-probability of each token but the first."""
    said = torch.tensor(ids[1:], device=logits.device)[:, None]
    return logits[:-1].float().log_softmax(-1).gather(1, said)[:, 0]


def _same(got: Tensor, expected: Tensor, trunk: Any) -> bool:
    tolerance = 1e-3 if trunk.model.dtype == torch.float32 else 0.1
    if got.shape != expected.shape:
        return False
    expected = expected.double().cpu()
    return bool((got.double() - expected).norm() <= tolerance * (expected.norm() + 1e-3))
