"""Make a policy of the trunk and a low-rank adapter; with the adapter off it is the reference.

    W x + (alpha / r) B A x,   A [r, D_in] drawn at random, B [D_out, r] = 0 at the start

LoRA: Hu et al. 2021 (arXiv 2106.09685), by `peft`.

Where we differ: (1) each policy's adapter sits in a module tree of its own whose base parameters
*are* the trunk's tensors (or the modules that gather them): policies live side by side without
switching; (2) A is drawn from the generator given, never from torch's global one.

With several processes (see `distributed`) every one holds all results: all must ask alike for
samples and for log-probabilities without gradients.

Units: nats. Shapes: N responses, T response tokens. Fails on encoders, which say nothing.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import (
    CONFIG_NAME,
    SAFETENSORS_WEIGHTS_NAME,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trueline.errors import InputError, SetupError
from trueline.models.chat_format import Codec, Encoded
from trueline.models.distributed import shards_of, whole
from trueline.models.families import check_sampling, put_adapters
from trueline.models.forward import Batch, blocks_of, response_logps, row_batches
from trueline.models.loading import text_config
from trueline.models.low_rank import fuse
from trueline.models.rollouts import Rollouts, Sampling
from trueline.models.sampling import end_ids, generate
from trueline.models.trunk import Trunk
from trueline.models.unfinished import recalling
from trueline.progress import track
from trueline.records import Prompt, Response
from trueline.rng import torch_seed

__all__ = ["BasePolicy", "LoraPolicy", "Sampler"]

_NOTE = "trueline.json"
_WHOLE = "an adapter folder must be one that LoraPolicy.save wrote, and whole"
_FREE = {"base_model_name_or_path", "exclude_modules", "inference_mode", "peft_version"}
_FREE |= {"target_modules", "target_parameters"}
"""What an adapter's configuration may say: the weights' names tell the rest."""
_MERGE_BYTES = _UPDATE_BYTES = 2**30


class Sampler(Protocol):
    """Sample what a policy would say: the model itself, or an engine that serves it."""

    @property
    def rollouts(self) -> Callable[..., Rollouts]:
        """Called with a policy and all that `BasePolicy.rollouts` takes."""


class BasePolicy:
    """The trunk itself as a policy."""

    def __init__(
        self,
        trunk: Trunk,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if trunk.is_encoder:
            raise InputError("a policy needs a causal language model as trunk", got="an encoder")
        check_sampling(trunk)
        self.trunk = trunk
        room = max_new_tokens or min(96, trunk.codec.max_tokens // 2)
        self.sampling = sampling or Sampling(max_new_tokens=room)
        """How it answers; if not given, cut at 96 tokens or half of what a smaller trunk holds."""
        self.sampler: Sampler | None = None
        """What samples in its stead; None: the model itself."""

    @property
    def max_new_tokens(self) -> int:
        """Where an answer is cut."""
        return self.sampling.max_new_tokens

    @property
    def network(self) -> Any:
        """The causal language model that samples and scores."""
        return self.trunk.model

    def sample(self, prompts: Sequence[Prompt], **settings: Any) -> list[list[Response]]:
        """Return the responses of `rollouts`, whose settings it takes."""
        return self.rollouts(prompts, **settings).responses

    def rollouts(
        self,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Rollouts:
        """Sample K responses to each of B prompts, as `sampling` has it where nothing else is said;
        the likeliest at temperature 0."""
        room = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        temperature = self.sampling.temperature if temperature is None else temperature
        if self.sampler is not None:
            how = {"num_samples": num_samples, "rng": rng, "temperature": temperature}
            return self.sampler.rollouts(self, prompts, max_new_tokens=room, **how)
        if num_samples < 1 or room < 1 or not temperature >= 0:
            raise InputError(
                "num_samples and max_new_tokens must be at least 1 and temperature at least 0",
                got=f"{num_samples}, {room} and {temperature}",
            )
        codec = self.trunk.codec
        if not prompts:
            return Rollouts.of(codec, [], [], [])
        prefixes = codec.prompt_ids(prompts, room=room)
        uniforms = rng.random((len(prompts), num_samples, room))
        recall = recalling(self.trunk.unfinished, self.network)

        def mine(at: np.ndarray) -> tuple[np.ndarray]:
            rows = generate(
                network,
                [prefixes[i] for i in at],
                uniforms=uniforms[at],
                temperature=temperature,
                top_p=self.sampling.top_p,
                stop_ids=end_ids(network, codec),
                recall=recall,
            )
            return (np.fromiter(rows, dtype=object),)

        with self.merged() as network, whole(network):
            (completions,) = self.trunk.workers.spread([1] * len(prompts), mine)
        return Rollouts.of(codec, prompts, prefixes, completions.tolist())

    @contextlib.contextmanager
    def merged(self) -> Iterator[Any]:
        """Yield the network as it samples fastest; the trunk itself has nothing to merge."""
        yield self.network

    def token_logps(
        self, responses: Sequence[Response] | Sequence[Encoded], *, grad: bool = True
    ) -> tuple[Float[Tensor, "N T"], Bool[Tensor, "N T"]]:
        """Return the log-probability of each response token at the sampling temperature, float32,
        and which slots are filled.

        Tokens as in a reading, with an end token where there is a chat template; or as given.
        """
        rows = _encoded(self.trunk.codec, responses)
        lengths = torch.tensor([row.stop - row.start for row in rows], dtype=torch.long)
        slots = int(lengths.max()) if rows else 0
        mask = (torch.arange(slots)[None] < lengths[:, None]).to(self.trunk.device)
        if grad and torch.is_grad_enabled():
            return self._logps(rows, slots), mask

        def mine(at: np.ndarray) -> tuple[np.ndarray]:
            return (self._logps([rows[i] for i in at], slots).cpu().numpy(),)

        with torch.no_grad(), whole(self.network):
            (logps,) = self.trunk.workers.spread([len(row.ids) for row in rows], mine)
        return torch.as_tensor(logps, device=self.trunk.device), mask

    def _logps(self, rows: Sequence[Encoded], slots: int) -> Tensor:
        packed = self.trunk.packs
        groups = row_batches(rows, max_tokens=self.trunk.batch_tokens, packed=packed)
        if self.trunk.sharded and torch.is_grad_enabled():
            # Parted weights are gathered in each pass: every process makes one.
            groups = [np.arange(len(rows))]
        parts = [torch.zeros(0, slots, device=self.trunk.device)]
        for group in track(groups, "log-probabilities"):
            part = [rows[i] for i in group]
            batch = Batch.of(part, device=self.trunk.device, packed=packed)
            logps = response_logps(self.network, batch, self.sampling.temperature)
            parts.append(torch.nn.functional.pad(logps, (0, slots - logps.shape[1])))
        order = np.array([i for group in groups for i in group], dtype=np.int64)
        return torch.cat(parts)[torch.as_tensor(order.argsort(), device=self.trunk.device)]

    @contextlib.contextmanager
    def recomputing(self) -> Iterator[None]:
        """Keep only each block's input in passes within the context (gradient checkpointing)."""
        blocks = blocks_of(self.network)
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward

    def logp(
        self, responses: Sequence[Response] | Sequence[Encoded], *, grad: bool = True
    ) -> Float[Tensor, " N"]:
        """Return the log-probability of each response, float32, in the order given."""
        return self.token_logps(responses, grad=grad)[0].sum(1)


class LoraPolicy(BasePolicy):
    """The trunk with an adapter; made by `create`, `load` or `copy`."""

    def __init__(self, trunk: Trunk, adapted: PeftModel, **how: Any) -> None:
        super().__init__(trunk, **how)
        self.adapted = adapted.eval()
        if not trunk.sharded:
            fuse(self.adapted)
        self._merging = threading.RLock()

    @classmethod
    def create(
        cls,
        trunk: Trunk,
        *,
        rank: int = 16,
        alpha: int = 32,
        rng: np.random.Generator,
        **how: Any,
    ) -> LoraPolicy:
        """Put a fresh adapter on all linear maps of attention and MLP, and on all experts of a
        mixture; it changes nothing yet. How it answers is as a `BasePolicy` takes it: `sampling`,
        or `max_new_tokens` alone."""
        BasePolicy(trunk)
        if rank < 1:
            raise InputError("rank must be at least 1", got=str(rank))
        config = LoraConfig(r=rank, lora_alpha=alpha, task_type="CAUSAL_LM", lora_dropout=0.0)
        with _undisturbed():
            adapted = put_adapters(trunk, config, lambda: _twin(trunk.model, trunk.model))
        source = torch.Generator().manual_seed(torch_seed(rng))
        with torch.no_grad():
            for name, parameter in sorted(adapted.named_parameters()):
                if "lora_A" in name:
                    bound = parameter.shape[1] ** -0.5
                    drawn = torch.rand(parameter.shape, generator=source) * 2 - 1
                    parameter.copy_(drawn * bound)
        return cls(trunk, adapted, **how)

    @classmethod
    def load(cls, trunk: Trunk, folder: str | Path, **how: Any) -> LoraPolicy:
        """Load what `save` wrote, to answer as in `create`; one made for another trunk is
        refused."""
        folder = Path(folder)
        try:
            note, config = (json.loads((folder / n).read_bytes()) for n in (_NOTE, CONFIG_NAME))
            made_for, held = str(note["trunk"]), load_file(folder / SAFETENSORS_WEIGHTS_NAME)
            rank, alpha = (int(max(0, min(config[n], 2**31))) for n in ("r", "lora_alpha"))
            if not rank <= max(map(len, held.values())):
                raise ValueError(f"rank {rank} of smaller weights")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RecursionError) as error:
            raise SetupError(_WHOLE, got=f"{folder} ({type(error).__name__})") from error
        if made_for != trunk.fingerprint():
            got = f"trunk {trunk.fingerprint()[:12]}, adapter for {made_for[:12]}"
            raise SetupError("an adapter must be put on the trunk it was trained on", got=got)
        # A fresh one is filled: peft itself reads no file of the folder.
        policy = cls.create(trunk, rank=rank, alpha=alpha, rng=np.random.default_rng(0), **how)
        own = json.loads(json.dumps(policy.adapted.peft_config["default"].to_dict(), default=list))
        needed = get_peft_model_state_dict(policy.adapted, save_embedding_layers=False)
        strange = [n for n in held.keys() | needed.keys() if _shape(held, n) != _shape(needed, n)]
        strange += [name for name, tensor in held.items() if not tensor.float().isfinite().all()]
        strange += [name for name in own.keys() - _FREE if config.get(name, own[name]) != own[name]]
        if strange:
            got = f"{folder}, in which {min(strange)} is missing, of no use or not finite"
            raise SetupError(_WHOLE, got=got)
        set_peft_model_state_dict(policy.adapted, held)
        return policy

    def save(self, folder: str | Path) -> None:
        """Write the adapter as safetensors in `peft`'s layout, with the trunk's fingerprint."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.adapted.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        note = json.dumps({"trunk": self.trunk.fingerprint()})
        (folder / _NOTE).write_text(note, encoding="utf-8")

    def copy(self) -> LoraPolicy:
        """Return the same adapter in tensors of its own, on the same trunk."""
        with self._merging:
            adapted = _twin(self.adapted, self.trunk.model)
        twin = LoraPolicy(self.trunk, adapted, sampling=self.sampling)
        twin.sampler = self.sampler
        return twin

    @property
    def tokens_at_once(self) -> int:
        """Tokens whose activations take about 1 GiB in a pass with gradients, by their widths."""
        config = text_config(self.trunk.model)
        inner = getattr(config, "intermediate_size", None) or 4 * self.trunk.width
        numbers = self.trunk.num_layers * (12 * self.trunk.width + 4 * int(inner))
        return max(1, _UPDATE_BYTES // (4 * numbers))

    def trainable(self) -> list[torch.nn.Parameter]:
        """Return the adapter's parameters, the only ones with gradients."""
        return [p for p in self.adapted.parameters() if p.requires_grad]

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Be the reference within the context: the trunk without its adapter."""
        with self.adapted.disable_adapter():
            yield

    @contextlib.contextmanager
    def merged(self) -> Iterator[Any]:
        """Yield the network with W + (alpha / r) B A in the place of each adapted matrix W.

        The sums stand in copies that only this policy's module tree holds. Weights of more than
        1 GiB, or parted among processes, are not copied: there the adapter stays two thin products.
        """
        layers: list[Any] = [m for m in self.adapted.modules() if isinstance(m, LoraLayer)]
        num_bytes = sum(p.nbytes for p in self.trunk.model.parameters())
        off = any(layer.disable_adapters for layer in layers)
        if off or self.trunk.sharded or num_bytes > _MERGE_BYTES:
            yield self.network
            return
        with self._merging:
            # Of fused experts it is a parameter of another name.
            bases = [
                (base := layer.get_base_layer(), name, getattr(base, name))
                for layer in layers
                for name in [getattr(layer, "parameter_name", "weight")]
            ]
            try:
                with torch.no_grad():
                    for base, name, weight in bases:
                        copied = torch.nn.Parameter(weight.clone(), requires_grad=False)
                        setattr(base, name, copied)
                    self.adapted.merge_adapter()
                yield self.network
            finally:
                # peft's subtraction only ends its bookkeeping: its rounding goes with the copies.
                with torch.no_grad():
                    self.adapted.unmerge_adapter()
                for base, name, weight in bases:
                    setattr(base, name, weight)

    @property
    def network(self) -> Any:
        # The adapted causal model itself: peft's wrapper would only add calls.
        return self.adapted.get_base_model()


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _encoded(codec: Codec, given: Sequence[Response] | Sequence[Encoded]) -> list[Encoded]:
    rows = [row for row in given if isinstance(row, Encoded)]
    return rows or codec.encode([row for row in given if isinstance(row, Response)])


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hide that peft draws weights we replace, and calls names transformers will retire."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out")
        yield


def _twin(model: Any, shared: Any) -> Any:
    """Copy the module tree, but not the tensors of `shared`: they are the very same."""
    kept = [*shared.parameters(), *shared.buffers(), *shards_of(shared)]
    return copy.deepcopy(model, {id(item): item for item in kept})
