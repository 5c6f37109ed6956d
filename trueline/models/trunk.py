"""Load a pretrained model once, freeze it, and read responses in one pass.

    trunk = Trunk.load(folder_or_hub_name);  readings = trunk.read(responses)

Layers are numbered as in Hugging Face's `hidden_states`: 0 = embeddings, i = output of block i, the
last one after the final norm. Pools: "last" is the response's last token (its end token where the
chat template has one; the prompt's last token for an empty response; for an encoder too,
whose first token ranked hh-harmless pairs worse), "mean" the mean over the response's tokens,
context in the input.

With several processes (see `distributed`) every one must ask alike and holds all readings.

Results are those of batch size 1 within float32 rounding (1e-4), whatever stands beside a row.
Fails for models without one list of blocks, encoder-decoders, and slow tokenizers (`SetupError`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.models.cache import ReadingCache, Row
from trueline.models.chat_format import Codec, Encoded
from trueline.models.distributed import Workers, shard, shards_of, whole
from trueline.models.families import check_reading
from trueline.models.forward import (
    Batch,
    blocks_of,
    enable_packing,
    pooling,
    response_logps,
    row_batches,
)
from trueline.models.loading import load_model, max_positions, text_config
from trueline.models.reading import HasResponses, Readings, distinct
from trueline.models.unfinished import Unfinished
from trueline.progress import stage
from trueline.records import Response

__all__ = ["Trunk"]

_POOLING = 4
"""Version of what is read and pooled: a cache filled under another is not read."""
_MAX_POSITIONS = 1_000_000


class Trunk:
    """A frozen model with its tokenizer; made by `Trunk.load`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        is_encoder: bool,
        layers: Sequence[int] | None,
        cache_dir: str | Path | None,
        batch_tokens: int | None,
    ) -> None:
        self.model = model.requires_grad_(False).eval()
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.is_encoder = is_encoder
        self.packs = not is_encoder and enable_packing(self.model)
        """Whether rows go through it end to end, a shared prompt once."""
        self.num_layers = len(blocks_of(model))
        self.layers = self._choose(layers)
        limits = (max_positions(model), tokenizer.model_max_length)
        max_tokens = int(min(_MAX_POSITIONS, *(x for x in limits if x)))
        self.codec = Codec(tokenizer, is_encoder=is_encoder, max_tokens=max_tokens)
        self.batch_tokens = batch_tokens or _tokens_at_once(model)
        self._cache = None if cache_dir is None else ReadingCache(Path(cache_dir))
        self.workers = Workers()
        """The processes that read and train together; alone without a launcher."""
        self.sharded = bool(shards_of(model))
        """Whether the weights are parted among them: then all must make the same passes."""
        self._fingerprint: str | None = None
        self.unfinished: Unfinished | None = None
        """Where long steps keep what they have done so far; None: nowhere."""
        self.samples = False
        """Whether it was tried that sampling from it is right (`families.check_sampling`)."""

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        layers: Sequence[int] | None = None,
        cache_dir: str | Path | None = None,
        batch_tokens: int | None = None,
    ) -> Trunk:
        """Load a local Hugging Face folder, a hub name or a GGUF file.

        `device` "auto" is the one that accelerate gives to this process. `dtype` "bfloat16" halves
        the weights; adapters, softmax and log-probabilities stay float32; "auto" is what the
        checkpoint has, where the device multiplies it fast, else float32. With `layers` None all
        are read, with `cache_dir` None readings are not kept.
        """
        workers = Workers()
        place = str(workers.device) if device == "auto" else device
        at_first = "cpu" if workers.sharded else place
        model, tokenizer, is_encoder = load_model(str(name_or_path), device=at_first, dtype=dtype)
        if workers.sharded:
            shard(model, torch.device(place))
        trunk = cls(model, tokenizer, is_encoder, layers, cache_dir, batch_tokens)
        if len(set(workers.each(trunk.fingerprint))) > 1:
            got = f"others than {trunk.fingerprint()[:12]}"
            raise SetupError("every process must load the same model", got=got)
        check_reading(trunk)
        return trunk

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def width(self) -> int:
        """D: numbers in one token's latent."""
        return int(text_config(self.model).hidden_size)

    def fingerprint(self) -> str:
        """Return the sha256 over weights, configuration and tokenizer; computed once."""
        if self._fingerprint is None:
            self._fingerprint = self._hash()
        return self._fingerprint

    def verify_frozen(self) -> str:
        """Hash everything again and refuse if anything changed since the first hash."""
        before, now = self.fingerprint(), self._hash()
        if before != now:
            got = f"weights that changed from {before[:12]} to {now[:12]}"
            raise InvalidExperiment("the trunk must stay as it was loaded", got=got)
        return now

    def read(
        self,
        responses: Sequence[Response] | HasResponses,
        *,
        layers: Sequence[int] | None = None,
    ) -> Readings:
        """Read each distinct response in one frozen pass, in order of first appearance.

        `layers`: those to keep, the trunk's own if not given; () keeps surprisals alone.
        """
        unique, kept = distinct(responses), self.layers if layers is None else ()
        if layers:
            kept = self._choose(layers)
        rows = self.codec.encode(unique)
        with whole(self.model):
            latents, surprisals = self.workers.spread(
                [len(row.ids) for row in rows],
                lambda at: self._read([rows[i] for i in at], kept),
            )
        return Readings(
            keys=tuple(r.key for r in unique),
            latents=latents,
            layers=kept,
            poolings=("last", "mean"),
            surprisals=None if surprisals is None else surprisals[:, :5],
            end_surprisals=None if surprisals is None else surprisals[:, 5],
            truncated=np.array([row.truncated for row in rows]),
            prompt_cut=np.array([row.cut_prompt > 0 for row in rows]),
            trunk=self.fingerprint(),
            responses=tuple(unique),
        )

    def _read(self, rows: list[Encoded], layers: tuple[int, ...]) -> Row:
        """Return latents [N, L, 2, D] and surprisal columns [N, 6] of this process's rows."""
        latents = np.empty((len(rows), len(layers), 2, self.width), np.float32)
        surprisals = None if self.is_encoder else np.empty((len(rows), 6), np.float32)
        known = {} if self._cache is None else self._cache.get(self._row_keys(rows), layers)
        # A stranger's shard may hold rows of another model: these are read.
        forms = (latents.shape[1:], self.is_encoder)
        known = {i: r for i, r in known.items() if (r[0].shape, r[1] is None) == forms}
        for i, (found, columns) in known.items():
            latents[i] = found
            if surprisals is not None and columns is not None:
                surprisals[i] = columns
        # The batches of all rows, so that one cut short is gone on with to the same last bit.
        unknown = [i for i in range(len(rows)) if i not in known]
        batches = row_batches(rows, max_tokens=self.batch_tokens, packed=self.packs)
        with stage("reading tokens", sum(len(rows[i].ids) for i in unknown)) as told:
            for at in (batch[np.isin(batch, unknown)] for batch in batches):
                if not len(at):
                    continue
                part = [rows[i] for i in at]
                latents[at], columns = self._pass(part, layers)
                if surprisals is not None:
                    surprisals[at] = columns
                if self._cache is not None:
                    self._cache.put(self._row_keys(part), layers, (latents[at], columns))
                told.advance(sum(len(row.ids) for row in part))
        return latents, surprisals

    def _pass(self, rows: list[Encoded], layers: tuple[int, ...]) -> Row:
        batch, columns = Batch.of(rows, device=self.device, packed=self.packs), None
        with torch.inference_mode(), pooling(self.model, layers, batch.weights) as pooled:
            if self.is_encoder:
                slots = torch.arange(batch.ids.shape[1], device=self.device)
                mask = (slots < batch.lengths[:, None]).long()
                self.model(input_ids=batch.ids, attention_mask=mask)
            else:
                ends = torch.tensor([row.end for row in rows], device=self.device)
                columns = _columns(response_logps(self.model, batch), batch.response_mask, ends)
        empty = [torch.zeros(len(rows), 0, 2, self.width, device=self.device)]
        latents = torch.cat(empty + [pooled[layer][:, None] for layer in layers], 1)
        return latents.cpu().numpy(), columns

    def _row_keys(self, rows: list[Encoded]) -> list[str]:
        head = json.dumps([_POOLING, self.fingerprint(), self.dtype])
        return [
            hashlib.sha256(f"{head}{r.ids}{r.start}:{r.stop}".encode()).hexdigest() for r in rows
        ]

    def _choose(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        every = set(range(self.num_layers + 1))
        chosen = every if layers is None else set(layers)
        if not chosen or not chosen <= every:
            got = ", ".join(map(str, chosen - every)) or "none"
            raise InputError(f"layers must be among 0..{self.num_layers}", got=got)
        return tuple(sorted(chosen))

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            held: Any = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            flat = held.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
        tokenizer = self.codec.tokenizer
        config = self.model.config.to_dict()
        for name in ("_name_or_path", "transformers_version", "dtype", "_attn_implementation"):
            config.pop(name, None)
        # Truncation and padding are settings of the last call, not of the tokenizer.
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        kept = {k: v for k, v in state.items() if k not in ("truncation", "padding")}
        parts = [config, [kept, tokenizer.chat_template, tokenizer.special_tokens_map]]
        digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def _tokens_at_once(model: Any) -> int:
    """Return the tokens of a batch: what is fastest, or what half of the memory holds beside the
    weights, at some 20 widths of numbers a token in one block."""
    # A batch that outgrows a CPU's caches is slower: 16,384 took 1.6 times as long as 2,048.
    fastest, memory = 2_048, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if model.device.type == "cuda":
        fastest, memory = 16_384, torch.cuda.get_device_properties(model.device).total_memory
    left = memory // 2 - sum(p.nbytes for p in model.parameters())
    return int(
        min(fastest, max(256, left // (20 * text_config(model).hidden_size * model.dtype.itemsize)))
    )


def _columns(logps: torch.Tensor, mask: torch.Tensor, ends: torch.Tensor) -> np.ndarray:
    """Return the surprisal columns (sum, mean, largest, second, length, of the last `ends` [B]
    tokens), float32 [B, 6]."""
    surprisals, length = 0.0 - logps, mask.sum(1)
    total = surprisals.sum(1)
    top = torch.nn.functional.pad(surprisals, (0, 2)).topk(2, dim=1).values
    slots = torch.arange(mask.shape[1], device=mask.device)
    end = (surprisals * (slots >= (length - ends)[:, None])).sum(1)
    columns = [total, total / length.clamp(min=1), top[:, 0], top[:, 1], length.float(), end]
    return torch.stack(columns, 1).float().cpu().numpy()
