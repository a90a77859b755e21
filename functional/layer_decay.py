"""Fine-tuning's rates and choice of parameters, layer by layer of a Vision Transformer of timm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn
from torch.optim import Optimizer

FIRST = ("patch_embed.", "cls_token", "reg_token", "pos_embed", "norm_pre.")


def layer_of(name: str, depth: int) -> int:
    """Give the layer of a ViT's parameter: 0 for the embedding, 1 ... depth, depth + 1 after.

    The final norm and the head come after the blocks.
    """
    if name.startswith(FIRST):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def layer_scale(layer: int, depth: int, decay: float) -> float:
    """Give the factor on a layer's learning rate, ``decay ** (depth + 1 - layer)``.

    1 at the head, less and less below it (Clark et al. 2020; BEiT; He et al. 2022, table 9).

    Raises:
        ValueError: for a decay outside (0, 1].
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay={decay} lies outside (0, 1]; He et al. (2022) have 0.75")
    return float(decay ** (depth + 1 - layer))


def scale_groups(
    optimizer: Optimizer,
    parameters: Iterable[tuple[str, nn.Parameter]],
    scales: Mapping[str, float],
) -> Optimizer:
    """Split each group of ``optimizer`` by scale and multiply its learning rate; give it back.

    Args:
        optimizer: of ``parameters``; one that has not stepped yet.
        parameters: with their names.
        scales: the factor by name.
    """
    scale_of = {id(p): scales[name] for name, p in parameters}
    groups = []
    for group in optimizer.param_groups:
        names = group.get("param_names", [None] * len(group["params"]))
        rows = list(zip(names, group["params"], strict=True))
        for scale in sorted({scale_of[id(p)] for _, p in rows}):
            mine = [(name, p) for name, p in rows if scale_of[id(p)] == scale]
            part = {**group, "params": [p for _, p in mine], "lr": group["lr"] * scale}
            if "param_names" in group:
                part["param_names"] = [name for name, _ in mine]
            groups.append(part)
    optimizer.param_groups[:] = groups
    return optimizer


def trained_names(names: Iterable[str], depth: int, blocks: float | None) -> set[str]:
    """Give which of a ViT's parameters partial fine-tuning trains (He et al. 2022, figure 9).

    Args:
        names: of the parameters, as timm calls them.
        depth: number of blocks.
        blocks: the last ``blocks`` whole blocks; half a block is its MLP alone; 0 none. None is
            everything, the embedding and the final norm too, which otherwise stay as they are.

    Raises:
        ValueError: for a number that is not one of 0, 0.5, 1, ..., depth.
    """
    if blocks is None:
        return set(names)
    if not 0 <= blocks <= depth or (2 * blocks) % 1:
        raise ValueError(
            f"blocks={blocks}; expected 0, 0.5, 1, 1.5, ... up to {depth}, or null for everything"
        )
    whole = int(blocks)
    prefixes = tuple(f"blocks.{i}." for i in range(depth - whole, depth))
    if blocks > whole:
        prefixes += (f"blocks.{depth - whole - 1}.mlp.",)
    return {name for name in names if prefixes and name.startswith(prefixes)}
