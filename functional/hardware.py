"""What a processor computes in its own instructions."""

from __future__ import annotations

import torch


def cpu_computes_in_bf16() -> bool:
    """Tell whether this CPU has bf16 instructions; emulated bf16 is slower than float32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
