"""A trunk whose weights are parted among the processes (FSDP2), shared by all policies on it.

    bytes a process holds = weights in linear maps / N + the rest (embeddings, norms, adapters)

`accelerate launch --use_fsdp` asks for it. Each linear map is a unit of torch's `fully_shard`
(Zhao et al. 2023, arXiv 2304.11277): its weight is gathered when it is called and dropped after.

Where we differ: (1) the unit is the linear map, not the block, because that is what a policy's
module tree shares with the trunk's: the very module, gathering hooks and all, so that a second
policy still costs no weights; (2) adapters are small and whole in every process, so that their
gradients are summed as without parting, and saving one needs nobody else; (3) the embeddings, and
with them a head that is tied to them, stay whole.

Every process must make the same passes. Sampling would gather all weights for every token: `whole`
gathers them once, and needs room for them; where there is none, an engine must sample. Gathering
does not overlap with computing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from trueline.models.workers import Workers

__all__ = ["shard", "shards_of", "whole"]


def shard(model: Any, device: torch.device) -> None:
    """Part the linear maps' weights among all processes, in place; the rest moves to `device`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    embeddings = model.get_input_embeddings().weight
    for module in list(model.modules()):
        if isinstance(module, torch.nn.Linear) and module.weight is not embeddings:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    model.to(device)
    # What is first gathered in inference mode could never be trained through.
    for module in shards_of(model):
        module.unshard()
        module.reshard()


def shards_of(model: Any) -> list[Any]:
    """The modules whose weights are parted; none in a process that is alone."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


@contextlib.contextmanager
def whole(model: Any) -> Iterator[None]:
    """Within this context every process holds all weights, and may make what passes it likes."""
    shards = shards_of(model)
    if shards:
        Workers().most(0)
    for module in shards:
        module.unshard()
        module.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for module in shards:
            module.set_reshard_after_forward(True)
            module.reshard()
