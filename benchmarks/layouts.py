"""What one round costs by the shapes alone: one trunk with adapters against the usual layouts.

    weights    2 bytes a parameter and model, bf16
    trained    + 2 gradient + 4 master + 8 AdamW = 16 bytes;   an adapter 4 + 4 + 8 = 16, float32
    passes     in units of a forward pass over all rows: a frozen model 1; trained 1 + 2 backward;
               through frozen weights 1 + 1 (no weight gradients); + 1 computed again
    work       2 parameters x tokens x passes, in floating point operations
    gathered   2 bytes x parameters x (G - 1) / G a process each time FSDP gathers a model:
               once a batch where frozen, forward, again and backward where trained, and as
               much again to scatter the gradients of what is trained whole

Sampling is the same for all layouts and counted apart. Layouts: "ours" reads reward and reference
in one pass and trains an adapter; "GRPO, adapter" has its reference in the same weights and a
reward model beside; "GRPO" is policy, reference, reward; "PPO" is policy, reference, reward, value,
with the old policy's log-probabilities read once. One epoch, all rows.

    python -m benchmarks.layouts        prints the tables of docs/scale.md
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LLAMA_7B", "LLAMA_70B", "Layout", "Round", "Shape", "costs", "layouts", "tables"]

GB, TB = 1e9, 1e12


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama's sizes: L blocks of width D, MLP width F, keys and values of width E, V words."""

    name: str
    blocks: int
    width: int
    inner: int
    kv_width: int
    words: int

    @property
    def parameters(self) -> int:
        d, f, e = self.width, self.inner, self.kv_width
        block = 2 * d * d + 2 * d * e + 3 * d * f + 2 * d
        return self.blocks * block + 2 * self.words * d + d

    def adapter(self, rank: int) -> int:
        """LoRA on all linear maps of the blocks: rank x (in + out) each."""
        d, f, e = self.width, self.inner, self.kv_width
        return self.blocks * rank * (2 * 2 * d + 2 * (d + e) + 3 * (d + f))


LLAMA_7B = Shape(name="7B", blocks=32, width=4096, inner=11008, kv_width=4096, words=32000)
LLAMA_70B = Shape(name="70B", blocks=80, width=8192, inner=28672, kv_width=1024, words=32000)


@dataclass(frozen=True, kw_only=True)
class Round:
    """B prompts, K answers each, and how they are gone through."""

    prompts: int = 128
    answers: int = 8
    prompt_tokens: int = 512
    answer_tokens: int = 256
    rank: int = 16
    processes: int = 8
    rows_at_once: int = 8
    """Rows a process takes through a model together."""

    @property
    def rows(self) -> int:
        return self.prompts * self.answers

    @property
    def row_tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens

    @property
    def batches(self) -> int:
        """Of each process."""
        return self.rows // (self.processes * self.rows_at_once)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How many models are held, how many of them are trained, how many only read."""

    name: str
    models: int
    trained: int
    """Trained in all weights; none: an adapter is trained."""
    readings: int
    """Forward passes over all rows besides the update's."""

    def bytes_held(self, shape: Shape, asked: Round) -> float:
        """Weights, gradients and optimiser, of all processes together."""
        adapter = 16 * shape.adapter(asked.rank) if not self.trained else 0
        return 2 * shape.parameters * self.models + 14 * shape.parameters * self.trained + adapter

    @property
    def passes(self) -> int:
        return self.readings + (4 * self.trained or 3)

    def work(self, shape: Shape, asked: Round) -> float:
        return 2.0 * shape.parameters * asked.rows * asked.row_tokens * self.passes

    def bytes_gathered(self, shape: Shape, asked: Round) -> float:
        """What a process receives in a round under FSDP, and sends as gradients."""
        times = self.readings + 3 * max(1, self.trained) + self.trained
        once = 2 * shape.parameters * (asked.processes - 1) / asked.processes
        return once * times * asked.batches


def layouts() -> list[Layout]:
    return [
        Layout(name="ours", models=1, trained=0, readings=1),
        Layout(name="GRPO, adapter", models=2, trained=0, readings=2),
        Layout(name="GRPO", models=3, trained=1, readings=2),
        Layout(name="PPO", models=4, trained=2, readings=4),
    ]


def costs(shape: Shape, asked: Round) -> dict[str, float]:
    """What does not depend on the layout."""
    d, tokens = shape.width, asked.row_tokens
    kv = 2 * 2 * shape.blocks * shape.kv_width
    sampled = asked.prompts * asked.prompt_tokens + asked.rows * asked.answer_tokens
    return {
        "parameters": float(shape.parameters),
        "adapter_parameters": float(shape.adapter(asked.rank)),
        "kv_bytes_token": float(kv),
        "kv_gb_round": kv * sampled / GB,
        # One block's input a block, and one block's inside (Korthikanti et al. 2022, arXiv
        # 2205.05198: 34 bytes a token and unit of width, attention not kept).
        "activations_gb_row": (2 * shape.blocks * d + 34 * d) * tokens / GB,
        "all_activations_gb_row": 34 * shape.blocks * d * tokens / GB,
        "logits_gb_row": 2 * 4 * shape.words * asked.answer_tokens / GB,
        "sampling_pflop": 2 * shape.parameters * sampled / 1e15,
        "adapter_gradient_mb_step": 4 * shape.adapter(asked.rank) / 1e6,
        "head_gb": 8 * (2 * d + 5) ** 2 / GB,
    }


def tables(asked: Round) -> str:
    """Markdown: one row a layout and trunk, then what they share."""
    lines = [
        "| trunk | layout | weights, gradients, AdamW (GB) | passes over all rows | work (PFLOP) "
        "| gathered by a process (TB) |",
        "|---|---|---|---|---|---|",
    ]
    for shape in (LLAMA_7B, LLAMA_70B):
        for layout in layouts():
            held = layout.bytes_held(shape, asked) / GB
            work = layout.work(shape, asked) / 1e15
            moved = layout.bytes_gathered(shape, asked) / TB
            lines.append(
                f"| {shape.name} | {layout.name} | {held:,.0f} | {layout.passes} | {work:,.0f} "
                f"| {moved:.1f} |"
            )
    lines += ["", "| | 7B | 70B |", "|---|---|---|"]
    small, large = (costs(shape, asked) for shape in (LLAMA_7B, LLAMA_70B))
    lines += [f"| {name} | {small[key]:,.3g} | {large[key]:,.3g} |" for name, key in _SHARED]
    return "\n".join(lines)


_SHARED = [
    ("parameters", "parameters"),
    ("of the adapter, rank 16", "adapter_parameters"),
    ("adapter gradients summed in a step (MB)", "adapter_gradient_mb_step"),
    ("keys and values of a token (bytes)", "kv_bytes_token"),
    ("keys and values of the round, prompts shared (GB)", "kv_gb_round"),
    ("activations of a row, all kept (GB)", "all_activations_gb_row"),
    ("activations of a row, computed again (GB)", "activations_gb_row"),
    ("logits of a row's answer with their gradient (GB)", "logits_gb_row"),
    ("sampling (PFLOP)", "sampling_pflop"),
    ("reward posterior of one layer, in host memory (GB)", "head_gb"),
]


if __name__ == "__main__":
    print(tables(Round()))
