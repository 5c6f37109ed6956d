"""Load a model and its tokenizer from a Hugging Face folder, a hub name or a GGUF file.

A checkpoint is taken as a causal language model if its architecture says so, else as an encoder.
A GGUF file, or a folder with one and no configuration, is unpacked into an ordinary model.
What cannot be loaded is refused in one line.
Weights the checkpoint lacks would be drawn at random, and scores with them: that is refused too.
Safetensors only, and no code from the model's folder is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
)
from transformers.utils import logging
from transformers.utils.hub import cached_file

from trueline.errors import DataError, SetupError
from trueline.models.template import render
from trueline.records import Message

__all__ = ["has_chat_template", "load_model", "max_positions", "text_config"]

_FILES = (OSError, SafetensorError, struct.error)
_MISREAD = (ValueError, LookupError, RuntimeError, ImportError, TypeError, AttributeError)
_UNREADABLE = (*_FILES, *_MISREAD)
_INDEX = "model.safetensors.index.json"


def load_model(name: str, *, device: str, dtype: str) -> tuple[Any, Any, bool]:
    """Return (model, tokenizer, is_encoder), the model in eval mode and without gradients."""
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise SetupError("dtype must be auto, float32, bfloat16 or float16", got=dtype)
    source, where = _where(name)
    unpacked: dict[str, Any] = {"use_safetensors": True}
    if "gguf_file" in where:
        unpacked = {"quantization_config": GgufConfig(dequantize=True)}
    with _explained(name), _quiet():
        config = AutoConfig.from_pretrained(source, **where)
        if "gguf_file" not in where:
            _check_files(source, getattr(config, "transformers_weights", None) or _INDEX)
        is_encoder = not _is_causal(name, config)
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        loader: Any = AutoModel if is_encoder else AutoModelForCausalLM
        number_type = _fast(config, device) if dtype == "auto" else getattr(torch, dtype)
        how = {"dtype": number_type, "output_loading_info": True, **unpacked}
        model, info = loader.from_pretrained(source, **how, **where)
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        must = f"the checkpoint {name} must hold every weight of {type(model).__name__}"
        raise SetupError(must, got=f"{len(missing)} missing, the first {sorted(missing)[0]}")
    # A GGUF file names none; with it the trunk is the same as loaded from the folder it makes.
    model.config.architectures = model.config.architectures or [type(model).__name__]
    if not len(tokenizer):
        raise SetupError(f"the folder {name} must hold its tokenizer", got="an empty one")
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
        raise SetupError("the weights of a checkpoint must be finite", got=f"NaN or inf in {name}")
    if getattr(tokenizer, "chat_template", None):
        with contextlib.suppress(DataError):  # it may want other turns; what it costs is tried
            render(tokenizer, [Message("user", "Hello.")])
    model.requires_grad_(False).eval().to(device)
    return model, tokenizer, is_encoder


def _check_files(source: str, listed: str) -> None:
    """Refuse weights that are pickled, that lie elsewhere, or that an adapter would change; links
    are followed, since those of the hub's cache are links."""
    kinds = ("missing_entries", "connection_errors")
    how: Any = {f"_raise_exceptions_for_{kind}": False for kind in kinds}
    index, names = cached_file(source, listed, **how), [listed]
    if listed.endswith(".json"):
        names = list(json.loads(Path(index).read_bytes())["weight_map"].values()) if index else []
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", str(name)):
            raise ValueError(f"weights in {str(name)!r:.80}, not in a .safetensors file beside it")
    if cached_file(source, "adapter_config.json", **how):
        raise ValueError("an adapter beside it: merge it (peft: merge_and_unload) and save that")


def has_chat_template(name: str) -> bool:
    """Return whether a model's tokenizer has a chat template; its weights are not loaded."""
    source, where = _where(name)
    with _explained(name), _quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
    return bool(getattr(tokenizer, "chat_template", None))


def _where(name: str) -> tuple[str, dict[str, Any]]:
    """Return the folder or hub name that is loaded from, and how: a GGUF file is named in it."""
    name = str(Path(name).expanduser()) if name.startswith("~") else name
    place, packed = Path(name), _gguf_of(Path(name))
    if packed is not None:
        return str(packed.parent), {"trust_remote_code": False, "gguf_file": packed.name}
    if not place.is_dir() and (place.is_absolute() or name.count("/") > 1):
        must = "the model must be a Hugging Face folder, a hub name or a .gguf file"
        raise SetupError(must, got=f"{name}, which is neither", do="check the path")
    return name, {"trust_remote_code": False}


def text_config(model: Any) -> Any:
    """Return the configuration of what reads text, of a model that may see pictures too."""
    return model.config.get_text_config(decoder=True)


def max_positions(model: Any) -> int | None:
    """Return how many tokens a model has positions for; None where it sets no limit."""
    # RoBERTa's table (and its descendants') begins with the padding's rows.
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None:
            return int(table.num_embeddings - table.padding_idx - 1)
    config = text_config(model)
    names = ("max_position_embeddings", "max_seq_len", "seq_length", "context_length")
    found = (getattr(config, name, None) for name in names)
    return next((int(limit) for limit in found if limit), None)


def _gguf_of(place: Path) -> Path | None:
    """Return the GGUF file that is meant; None where it is no matter of one."""
    found = [place] if place.suffix == ".gguf" and place.is_file() else []
    if place.is_dir() and not (place / "config.json").is_file():
        found = sorted(place.glob("*.gguf"))
    if len(found) > 1:
        got = f"{len(found)} in {place}: {', '.join(file.name for file in found)}"
        raise SetupError("a folder of a model must hold one GGUF file", got=got, do="name the file")
    if found and importlib.util.find_spec("gguf") is None:
        must, do = "the package gguf must be there to read a GGUF file", "pip install gguf"
        raise SetupError(must, got=f"{found[0].name} without it", do=do)
    return found[0] if found else None


def _fast(config: Any, device: str) -> torch.dtype:
    """Return the checkpoint's number type where the device multiplies it fast, else float32."""
    own = getattr(config, "dtype", None)
    if device.startswith("cuda"):
        kinds = {torch.float16} | ({torch.bfloat16} if torch.cuda.is_bf16_supported() else set())
    else:
        # "amx_bf16", "avx512_bf16", or an ARM processor's own.
        able: Any = getattr(torch.cpu, "get_capabilities", dict)().items()
        kinds = {torch.bfloat16} if any(n.endswith("bf16") and has for n, has in able) else set()
    return own if own in kinds else torch.float32


def _is_causal(name: str, config: Any) -> bool:
    if getattr(config, "is_encoder_decoder", False):
        must = "the trunk must be a causal language model or an encoder"
        raise SetupError(must, got=f"{name}, an encoder-decoder")
    architectures = getattr(config, "architectures", None) or []
    if any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
        return True
    kind = type(config)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise SetupError(
            f"{name} must load as a Hugging Face model with safetensors weights",
            got=f"{type(error).__name__}: {reason}",
            do="check the name, the folder or the connection",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the loading bar: it would be the only thing on the screen that is not ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
