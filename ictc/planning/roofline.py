"""How fast a GPU can answer at best: the roofline of computing and of reading memory. Arithmetic alone.

Formulas of the project's platform notes. A real run reaches a share of the peak: 49 % is the best that has been
published for Qwen3.5-9B on an H100, `REALISTIC_SHARE` is a little less.
"""

from __future__ import annotations

from dataclasses import dataclass

from ictc.engines.shapes import ModelShape

REALISTIC_SHARE = 0.45
PATCHES_PER_TOKEN = 4
"""The vision tower sees 16×16 px at a time; four of them make an image token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one request costs, in tokens; averages of many.

    Attributes:
        sharing: how many requests share one image, which is then computed once for all of them.
    """

    image_tokens: float
    text_tokens: float
    answer_tokens: float
    sharing: int = 1

    @property
    def context_tokens(self) -> float:
        """Tokens that the cache holds of it halfway through its answer."""
        return self.image_tokens + self.text_tokens + self.answer_tokens / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """All GPUs of a run together.

    Attributes:
        flops: peak of matrix multiplication, in FLOP/s.
        bandwidth: of all memories together, in bytes/s.
        sequences: requests that run at a time on all engines.
        num_engines: copies of the weights, each read anew for every token of an answer.
        bytes_per_weight: of the language model.
        body_speedup: how much faster than `flops` the language model multiplies, 2 in native fp8.
    """

    flops: float
    bandwidth: float
    sequences: int
    num_engines: int = 1
    bytes_per_weight: float = 2.0
    body_speedup: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Seconds of GPU time by each of the two limits; the longer one binds."""

    compute_s: float
    memory_s: float

    def seconds(self, share: float = 1.0) -> float:
        """Return the time with `share` of the peak in computing."""
        return max(self.compute_s / share, self.memory_s)

    def bound(self, share: float = 1.0) -> str:
        """Return which limit binds, in a word."""
        return "compute" if self.compute_s / share >= self.memory_s else "memory"


def vision_flop(shape: ModelShape, image_tokens: float) -> float:
    """Return what the vision tower computes for one image: its weights, and attention between all patches."""
    patches = PATCHES_PER_TOKEN * image_tokens
    return 2 * shape.vision * patches + 4 * patches**2 * shape.vision_width


def body_flop(shape: ModelShape, request: Request) -> float:
    """Return what the language model computes for one request; the output layer runs for answer tokens only."""
    prompt_tokens = request.image_tokens / request.sharing + request.text_tokens
    return 2 * shape.body * prompt_tokens + 2 * (shape.body + shape.head) * request.answer_tokens


def request_flop(shape: ModelShape, request: Request) -> float:
    """Return what one request computes in all."""
    return body_flop(shape, request) + vision_flop(shape, request.image_tokens) / request.sharing


def answer_tokens_per_s(shape: ModelShape, request: Request, machine: Machine) -> float:
    """Return how many answer tokens a second memory allows: b·BW / (W + b·(2·S + context·kv)).

    Each step reads the weights once per engine, and of every sequence its state (and writes it) and its cache.
    """
    weights = machine.num_engines * (shape.stored_body + shape.head) * machine.bytes_per_weight
    per_sequence = 2 * shape.state_bytes + request.context_tokens * shape.kv_bytes
    return machine.sequences * machine.bandwidth / (weights + machine.sequences * per_sequence)


def duration(shape: ModelShape, request: Request, num_requests: int, machine: Machine) -> Duration:
    """Return the least time that so many requests take. The first token of an answer comes with its prompt."""
    vision_s = vision_flop(shape, request.image_tokens) / request.sharing / machine.flops
    body_s = body_flop(shape, request) / (machine.flops * machine.body_speedup)
    read_tokens = max(request.answer_tokens - 1, 0)
    return Duration(
        compute_s=num_requests * (vision_s + body_s),
        memory_s=num_requests * read_tokens / answer_tokens_per_s(shape, request, machine),
    )
