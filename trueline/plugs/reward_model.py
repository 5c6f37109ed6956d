"""Score texts by a linear reward on its trunk, as one Hugging Face sequence classifier.

    logits[:, 0] = (clip((x - center) / scale, -c, c) - reference)·weights
    x = [surprisals of the response (5)] + pools ("last", "mean") of layers, as in `Readings`

This file is copied into each export and stands alone (torch and transformers): it is what
`trust_remote_code=True` runs. A row is brought into the form the reward was fitted on (`place`)
and scored as if it were alone, so neither padding nor batch matter. The response begins after the
last of the tokens by which the chat template opens the assistant's turn; without them, or without
an attention mask, a row is refused (ValueError), never guessed at. No gradients: the trunk is
frozen. Shapes: B rows, T tokens, F features. Units: nats.

>>> place([1, 7, 5, 4, 8, 2, 9], {"head": [1], "marker": [5], "blanks": [[4]], "close": [2],
...                               "tail": [9], "open": [7], "foot": 2, "max_tokens": 6})
([1, 7, 5, 4, 8, 2], 4, 6)
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers import PretrainedConfig as Config
from transformers.modeling_outputs import SequenceClassifierOutput

__all__ = ["TruelineRewardConfig", "TruelineRewardModel", "place"]


class TruelineRewardConfig(Config):  # type: ignore[no-untyped-call]
    """As `exporter` fills it: `trunk`, the trunk's own configuration; `layout`, how texts are laid
    out; `parts` and `surprisals`, what is read."""

    model_type = "trueline_reward"


def place(ids: list[int], layout: dict[str, Any]) -> tuple[list[int], int, int]:
    """Return a row's tokens as the trunk reads them, and where the response lies in them."""
    head, marker, close, tail = (layout[name] for name in ("head", "marker", "close", "tail"))
    while head and ids[: len(head)] == head:
        ids = ids[len(head) :]
    # Blanks before the end token may have run into the answer: then it alone is the end.
    whole = ids[: len(ids) - len(tail)] if ids[len(ids) - len(tail) :] == tail else ids
    close = close if whole[len(whole) - len(close) :] == close else close[-1:]
    for end in (tail, close):
        if end and ids[-len(end) :] == end:
            ids = ids[: -len(end)]
    starts = range(len(ids) - len(marker), -1, -1)
    at = next((i for i in starts if ids[i : i + len(marker)] == marker), None)
    if at is None:
        raise ValueError(
            f"each text must hold the tokens {marker} that open the response: form it by the "
            "chat template of this folder's tokenizer (in TRL: give conversational data)"
        )
    at += len(marker)
    # Blanks before an answer are other tokens where the answer runs into them.
    at += next((len(b) for b in layout["blanks"] if ids[at : at + len(b)] == list(b)), 0)
    context, answer = head + ids[:at], ids[at:] + close
    room = layout["max_tokens"] - max(len(head), 1)
    if len(answer) > room:
        answer = answer[: room - len(close)] + close
    limit = layout["max_tokens"] - len(answer)
    if len(context) > limit:
        opening, size = layout["open"], len(layout["open"])
        starts = range(len(context) - size + 1)
        first = next((i + size for i in starts if context[i : i + size] == opening), len(head))
        kept = max(limit - first, layout["foot"])
        context = context[: min(first, len(context) - kept)] + context[len(context) - kept :]
        context = head + context[len(context) - limit + len(head) :]
    return context + answer, len(context), len(context) + len(answer)


class TruelineRewardModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The trunk, what standardises its reading, and the weights."""

    center: torch.Tensor
    scale: torch.Tensor
    reference: torch.Tensor
    weights: torch.Tensor
    clip: torch.Tensor

    config_class = TruelineRewardConfig
    base_model_prefix = "trunk"
    # Whatever number type the trunk is loaded in.
    _keep_in_fp32_modules_strict: Any = ("^(?:center|scale|reference|weights|clip)$",)

    def __init__(self, config: TruelineRewardConfig) -> None:
        super().__init__(config)
        inner = AutoConfig.for_model(**config.trunk)
        loader: Any = AutoModelForCausalLM
        self.trunk = loader.from_config(inner)
        width = len(config.parts) * int(inner.hidden_size) + 5 * config.surprisals
        for name in ("center", "scale", "reference", "weights"):
            self.register_buffer(name, torch.zeros(width))
        self.register_buffer("clip", torch.zeros(1))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Return rewards as logits [B, 1]."""
        if attention_mask is None:
            raise ValueError("give the tokenizer's attention_mask: pads are told by it alone")
        layout = self.config.layout
        pairs = zip(input_ids, attention_mask, strict=True)
        rows = [place(ids[mask.bool()].tolist(), layout) for ids, mask in pairs]
        with torch.no_grad():
            x = self._read(rows)
            z = torch.clamp((x - self.center) / self.scale, -self.clip, self.clip)
            rewards = (z - self.reference) @ self.weights
        return SequenceClassifierOutput(logits=rewards[:, None])

    def _read(self, rows: list[tuple[list[int], int, int]]) -> torch.Tensor:
        longest, device = max(len(ids) for ids, _, _ in rows), self.center.device
        ids = torch.tensor([r[0] + [0] * (longest - len(r[0])) for r in rows], device=device)
        starts, stops = (
            torch.tensor([row[i] for row in rows], device=device)[:, None] for i in (1, 2)
        )
        at = torch.arange(longest, device=device)[None]
        inside = (at >= starts) & (at < stops)
        last = (at == stops - 1).float()
        count = inside.sum(1, keepdim=True)
        pools = {"last": last, "mean": torch.where(count > 0, inside / count.clamp(min=1), last)}
        where = inside.reshape(-1).nonzero()[:, 0]
        # The trunk is causal and rows are padded on the right, so it needs no mask.
        out = self._pass(ids, where - 1)
        columns = []
        if self.config.surprisals:
            columns.append(_surprisals(out.logits[0].float(), ids.reshape(-1)[where], inside))
        for layer, pool in self.config.parts:
            weights = pools[pool].to(out.hidden_states[layer].dtype)
            columns.append((weights[:, None] @ out.hidden_states[layer])[:, 0].float())
        return torch.cat(columns, 1)

    def _pass(self, ids: torch.Tensor, where: torch.Tensor) -> Any:
        """Return all layers' outputs, and logits [1, R, V] at the flat positions `where`."""
        if not self.config.surprisals:
            return self.trunk.base_model(input_ids=ids, output_hidden_states=True)

        def cut(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            # Before the head, so that what a model does to logits after it still applies.
            return (args[0].reshape(-1, args[0].shape[-1])[where][None],)

        handle = self.trunk.get_output_embeddings().register_forward_pre_hook(cut)
        try:
            return self.trunk(input_ids=ids, use_cache=False, output_hidden_states=True)
        finally:
            handle.remove()


def _surprisals(logits: torch.Tensor, targets: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return sum, mean, largest and second of -log p over the response, and its length, [B, 5]."""
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    values = torch.zeros(inside.shape, device=each.device).masked_scatter(inside, each)
    count, total = inside.sum(1), values.sum(1)
    top = torch.nn.functional.pad(values, (0, 2)).topk(2, dim=1).values
    columns = [total, total / count.clamp(min=1), top[:, 0], top[:, 1], count.float()]
    return torch.stack(columns, 1)
