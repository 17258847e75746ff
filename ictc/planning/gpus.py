"""The GPUs that a plan can be made for, by the name that `--gpu` takes, with their makers' figures.

Memory is what the driver reports, in 10^9 bytes; TFLOP/s are dense, without sparsity, for 16-bit matrices.
"""

from __future__ import annotations

import difflib
from dataclasses import KW_ONLY, dataclass

from ictc.engines.gpu import Gpu
from ictc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU that can be bought or rented.

    Attributes:
        gpu: what decides whether a model runs on it.
        tflops: dense bf16 peak (fp16 where there is no bf16), in 10^12 FLOP/s.
        bandwidth_gb_s: of its memory, in 10^9 bytes/s.
    """

    gpu: Gpu
    _: KW_ONLY
    tflops: float
    bandwidth_gb_s: float


GPUS = {
    # NVIDIA V100 datasheet (SXM2): 125 TFLOP/s fp16 tensor, 900 GB/s; Volta has no bf16.
    "v100-16": GpuModel(Gpu("V100 16 GB", (7, 0), 17.1), tflops=125, bandwidth_gb_s=900),
    "v100-32": GpuModel(Gpu("V100 32 GB", (7, 0), 34.1), tflops=125, bandwidth_gb_s=900),
    # NVIDIA T4 datasheet: 65 TFLOP/s fp16, 320 GB/s.
    "t4": GpuModel(Gpu("T4 16 GB", (7, 5), 15.8), tflops=65, bandwidth_gb_s=320),
    # NVIDIA A10 datasheet: 125 TFLOP/s bf16, 600 GB/s.
    "a10": GpuModel(Gpu("A10 24 GB", (8, 6), 24.1), tflops=125, bandwidth_gb_s=600),
    # NVIDIA A100 datasheet (SXM4): 312 TFLOP/s bf16; 1,555 GB/s with 40 GB, 2,039 GB/s with 80 GB.
    "a100-40": GpuModel(Gpu("A100 40 GB", (8, 0), 42.4), tflops=312, bandwidth_gb_s=1555),
    "a100-80": GpuModel(Gpu("A100 80 GB", (8, 0), 85.0), tflops=312, bandwidth_gb_s=2039),
    # NVIDIA RTX A6000 datasheet: 309.7 TFLOP/s with sparsity, half of it dense; 768 GB/s.
    "a6000": GpuModel(Gpu("RTX A6000 48 GB", (8, 6), 51.0), tflops=154.8, bandwidth_gb_s=768),
    # NVIDIA L4 datasheet: 242 TFLOP/s bf16 with sparsity, half of it dense; 300 GB/s.
    "l4": GpuModel(Gpu("L4 24 GB", (8, 9), 23.6), tflops=121, bandwidth_gb_s=300),
    # NVIDIA L40S datasheet: 362 TFLOP/s bf16 dense, 864 GB/s.
    "l40s": GpuModel(Gpu("L40S 48 GB", (8, 9), 47.7), tflops=362, bandwidth_gb_s=864),
    # NVIDIA Ada architecture whitepaper: RTX 4090, 165.2 TFLOP/s bf16 with fp32 accumulation, 1,008 GB/s.
    "rtx4090": GpuModel(Gpu("RTX 4090 24 GB", (8, 9), 25.3), tflops=165.2, bandwidth_gb_s=1008),
    # NVIDIA H100 datasheet: SXM5 1,979 TFLOP/s bf16 with sparsity, half of it dense, and 3,350 GB/s; PCIe 1,513 and
    # 2,000 GB/s.
    "h100": GpuModel(Gpu("H100 80 GB", (9, 0), 85.0), tflops=989, bandwidth_gb_s=3350),
    "h100-pcie": GpuModel(Gpu("H100 PCIe 80 GB", (9, 0), 85.0), tflops=756, bandwidth_gb_s=2000),
    # NVIDIA H200 datasheet (SXM): as the H100, with 141 GB at 4,800 GB/s.
    "h200": GpuModel(Gpu("H200 141 GB", (9, 0), 150.0), tflops=989, bandwidth_gb_s=4800),
    # NVIDIA HGX B200 datasheet: 18 PFLOP/s bf16 dense over eight GPUs, 64 TB/s.
    "b200": GpuModel(Gpu("B200 180 GB", (10, 0), 191.5), tflops=2250, bandwidth_gb_s=8000),
}
ALIASES = {"v100": "v100-32", "a100": "a100-80", "h100-sxm": "h100", "4090": "rtx4090"}


def find_gpu(name: str) -> GpuModel:
    """Return the GPU called `name`, in any spelling such as "A100-80" or "RTX 4090".

    Raises:
        ConfigError: it is not known; the message lists those that are.
    """
    plain = name.lower().removesuffix("gb").replace("_", "-").replace(" ", "")
    model = GPUS.get(ALIASES.get(plain, plain))
    if model is not None:
        return model
    nearest = difflib.get_close_matches(plain, [*GPUS, *ALIASES], n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ConfigError(f"--gpu {name} is not known; {hint}known are {', '.join(GPUS)}")
