"""What a processor computes in its own instructions."""

from __future__ import annotations

import torch

PRECISIONS = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def precision(wanted: str, accelerator: str) -> str:
    """Give Lightning's precision: "auto" is bf16-mixed where the device computes in bf16.

    Raises:
        ValueError: for one that the device has not, or that would hold the weights in less than
            float32: the average of weights, sampling and scores count on that.
    """
    on_gpu = torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
    if wanted != "auto":
        named = PRECISIONS.get(wanted, wanted)
        able = [p for p in PRECISIONS.values() if on_gpu or p != "16-mixed"]
        if named not in able:
            raise ValueError(f"trainer.precision={wanted}; use auto, {' or '.join(able)} here")
        return named
    fast = torch.cuda.is_bf16_supported() if on_gpu else cpu_computes_in_bf16()
    return "bf16-mixed" if fast else "32-true"


def cpu_computes_in_bf16() -> bool:
    """Tell whether this CPU has bf16 instructions; emulated bf16 is slower than float32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
