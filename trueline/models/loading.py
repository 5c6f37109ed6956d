"""Load a model and its tokenizer from a Hugging Face folder or hub name, or refuse in one line.

A checkpoint is taken as a causal language model if its architecture says so, else as an encoder.
Weights the checkpoint lacks would be drawn at random, and scores with them: that is refused too.
Safetensors only, and no code from the model's folder is run.
"""

from __future__ import annotations

import contextlib
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
)
from transformers.utils import logging

from trueline.errors import SetupError

__all__ = ["load_model"]


def load_model(name: str, *, device: str, dtype: str) -> tuple[Any, Any, bool]:
    """Return (model, tokenizer, is_encoder), the model in eval mode and without gradients."""
    name = str(Path(name).expanduser()) if name.startswith("~") else name
    if not Path(name).is_dir() and (Path(name).is_absolute() or name.count("/") > 1):
        must = "the model must be a Hugging Face folder or hub name"
        raise SetupError(must, got=f"{name}, which is no folder", do="check the path")
    number_type = None if dtype == "auto" else getattr(torch, dtype, None)
    if dtype != "auto" and not isinstance(number_type, torch.dtype):
        raise SetupError("dtype must be auto, float32, bfloat16 or float16", got=dtype)
    with _explained(name), _quiet():
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        is_encoder = not _is_causal(name, config)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        loader: Any = AutoModel if is_encoder else AutoModelForCausalLM
        model, info = loader.from_pretrained(
            name,
            dtype=number_type or "auto",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        must = f"the checkpoint {name} must hold every weight of {type(model).__name__}"
        raise SetupError(must, got=f"{len(missing)} missing, the first {sorted(missing)[0]}")
    if not len(tokenizer):
        raise SetupError(f"the folder {name} must hold its tokenizer", got="an empty one")
    model.requires_grad_(False).eval().to(device)
    return model, tokenizer, is_encoder


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
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError, ImportError) as error:
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
