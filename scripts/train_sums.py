"""Trains the trunk of worked sums from scratch, and measures its card.

    python scripts/train_sums.py train --work WORK     resumable; about forty minutes on one core
    python scripts/train_sums.py export --work WORK    the newest checkpoint as the shipped model
    python scripts/train_sums.py card --work WORK      measures the shipped model, writes its card

One document is one sequence; the loss is over all tokens, prompts weighted 0.1 (they are drawn at
random) and reviews 1.5. Batches hold documents of like length. Step i sees batch i of the seed's
stream whenever it runs, so a resumed run is the same run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sums_card import answers_card, model_readme, reviews_card, surprisal_card
from sums_corpus import build_tokenizer, draw_document
from transformers import LlamaConfig, LlamaForCausalLM

from trueline.models.adapters import BasePolicy
from trueline.models.reading import SURPRISAL_COLUMNS
from trueline.models.sampling import complete
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.rng import stream
from trueline.worlds.sums.language import BOS, END, PAD, VOCABULARY, encode

MODEL = Path(__file__).parents[1] / "trueline" / "worlds" / "sums" / "model"
SEED, BATCH, BLOCK = 2024, 48, 64
PEAK_RATE, WARMUP, DECAY = 2e-3, 100, 0.05
WEIGHTS = {"bos": 0.0, "system": 0.1, "user": 0.1, "assistant": 1.0, "reviewer": 1.5}

Batch = tuple[torch.Tensor, torch.Tensor]


def new_model() -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
    )
    return LlamaForCausalLM(config)


def block_of_batches(block: int, split: int = 0) -> list[Batch]:
    """Batches of ids and loss weights [B, T]; block and split (0 train, 1 held out) fix them."""
    rng = np.random.default_rng((SEED, split, block))
    rows = [encode(draw_document(rng)) for _ in range(BATCH * BLOCK)]
    rows.sort(key=lambda row: len(row[0]))
    batches = []
    for at in range(0, len(rows), BATCH):
        group = rows[at : at + BATCH]
        width = max(len(ids) for ids, _ in group)
        ids = torch.full((len(group), width), PAD)
        weight = torch.zeros(len(group), width)
        for i, (row, roles) in enumerate(group):
            ids[i, : len(row)] = torch.tensor(row)
            weight[i, : len(row)] = torch.tensor([WEIGHTS[role] for role in roles])
        batches.append((ids, weight))
    return [batches[i] for i in rng.permutation(len(batches))]


def token_losses(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Surprisal in nats of every token but the first, [B, T - 1]."""
    # Rows are padded on the right and padding carries no weight: causal attention needs no mask.
    logits = model(ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


def rate(step: int, steps: int) -> float:
    """Linear warm-up from the first step on, then a cosine to a twentieth."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def train(work: Path, steps: int, stop_after_s: float | None = None) -> None:
    """Trains, or goes on training, up to `steps`; checkpoints every 100 steps."""
    work.mkdir(parents=True, exist_ok=True)
    model = new_model()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.95),
        fused=True,
    )
    first, before_s = 0, 0.0
    if (work / "state.pt").exists():
        state = torch.load(work / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, before_s = state["step"], state["wall_s"]
    started, recent, batches = time.monotonic(), [], []
    for step in range(first, steps):
        if step == first or step % BLOCK == 0:
            batches = block_of_batches(step // BLOCK)
        ids, weight = batches[step % BLOCK]
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = (token_losses(model, ids) * weight[:, 1:]).sum() / weight[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        wall_s = before_s + time.monotonic() - started
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {np.mean(recent[-50:]):.4f} {wall_s:.0f} s", flush=True)
        stopping = stop_after_s is not None and wall_s > stop_after_s
        if (step + 1) % 100 == 0 or step + 1 == steps or stopping:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1, "wall_s": wall_s}, work / "state.tmp")
            os.replace(work / "state.tmp", work / "state.pt")
        if stopping:
            break


def export(work: Path, folder: Path) -> None:
    """Writes the newest checkpoint to `folder` as a half-precision Hugging Face model."""
    state = torch.load(work / "state.pt", weights_only=True)
    model = new_model()
    model.load_state_dict(state["model"])
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    config = model.config
    config.architectures = ["LlamaForCausalLM"]
    config.dtype = torch.float16
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tensors = {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.tmp", metadata={"format": "pt"})
    os.chmod(folder / "model.tmp", 0o644)
    os.replace(folder / "model.tmp", folder / "model.safetensors")
    facts = {"steps": state["step"], "train_s": round(state["wall_s"]), "seed": SEED}
    (folder / "training.json").write_text(json.dumps(facts) + "\n")


class Measured:
    """The shipped model as the plain functions that the card is measured with."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.trunk = Trunk.load(str(folder))
        self.rng = rng

    def sample(self, prompts: list[Prompt], num_samples: int) -> list[list[Response]]:
        """Answers at temperature 1."""
        return BasePolicy(self.trunk).sample(prompts, num_samples=num_samples, rng=self.rng)

    def complete(self, prefixes: list[list[int]]) -> list[list[int]]:
        return complete(self.trunk.model, self.trunk.codec, prefixes, max_new_tokens=90)

    def largest(self, responses: Sequence[Response]) -> np.ndarray:
        """The largest surprisal of each response's own tokens [N]."""
        readings = self.trunk.read(responses)
        column = SURPRISAL_COLUMNS.index("largest")
        return readings.surprisals[readings.rows([r.key for r in responses]), column]

    def held_out(self) -> dict[str, float]:
        """Nats a token on documents of another stream, by role."""
        sums = dict.fromkeys(("assistant", "reviewer"), 0.0)
        counts = dict.fromkeys(sums, 0.0)
        for ids, weight in block_of_batches(0, split=1):
            with torch.no_grad():
                losses = token_losses(self.trunk.model, ids)
            for role in sums:
                mask = weight[:, 1:] == WEIGHTS[role]
                sums[role] += float(losses[mask].sum())
                counts[role] += float(mask.sum())
        return {role: round(sums[role] / counts[role], 4) for role in sums}


def measure(folder: Path, n: int) -> dict[str, Any]:
    """Everything on the card."""
    torch.set_grad_enabled(False)
    rng = stream(SEED, "card")
    measured = Measured(folder, rng)
    weights = (folder / "model.safetensors").read_bytes()
    training = json.loads((folder / "training.json").read_text())
    card: dict[str, Any] = {
        "sha256": hashlib.sha256(weights).hexdigest(),
        "parameters": sum(p.numel() for p in measured.trunk.model.parameters()),
        "training": {**training, "batch": BATCH, "peak_rate": PEAK_RATE},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
        },
        "prompts_a_row": n,
        "held_out_nats_a_token": measured.held_out(),
    }
    card.update(answers_card(measured.sample, measured.complete, n, rng))
    card.update(reviews_card(measured.complete, n, rng))
    card.update(surprisal_card(measured.largest, n, rng))
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("act", choices=("train", "export", "card"))
    parser.add_argument("--work", type=Path, default=Path("build/sums"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop-after-s", type=float)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--prompts", type=int, default=400, help="prompts a row of the card")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.act == "train":
        train(given.work, given.steps, given.stop_after_s)
    elif given.act == "export":
        export(given.work, given.model)
    else:
        started = time.monotonic()
        card = measure(given.model, given.prompts)
        card["measured_s"] = round(time.monotonic() - started)
        (given.model / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        (given.model / "README.md").write_text(model_readme(card))


if __name__ == "__main__":
    main()
