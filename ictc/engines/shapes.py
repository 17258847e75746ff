"""What a token costs in a model of the Qwen3.5 kind: parameters it passes through, and the memory of its sequence.

Knows three sources: a checkpoint's config.json, a table of the sizes that were looked up, and, as an estimate, the
size in a model's name. Knows no GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

BYTES_PER_VALUE = 2
"""Keys, values and the convolution's state are kept in 16 bits; the recurrent state itself takes 32."""
FULL_ATTENTION_INTERVAL = 4
"""Qwen3.5: three Gated DeltaNet layers to one of full attention."""

_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])")
_ACTIVE_SIZE = re.compile(r"-a(\d+(?:\.\d+)?)b(?![a-z0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that decide what a model costs.

    Attributes:
        body: parameters that every token passes through; of a mixture of experts, those of the chosen ones.
        head: parameters of the output layer, which only answers pass through.
        stored_body: parameters that a batch reads from memory: `body`, or those of all experts.
        vision: parameters of the vision tower, 0 if there is none.
        vision_width: hidden size × layers of the vision tower.
        state_bytes: recurrent state of one sequence.
        kv_bytes: keys and values of one token.
        source: where these numbers are from, for people.
    """

    body: float
    head: float
    stored_body: float
    vision: float
    vision_width: int
    state_bytes: float
    kv_bytes: float
    source: str

    def sequence_bytes(self, context_tokens: float) -> float:
        """Return what one running sequence takes of the cache."""
        return self.state_bytes + context_tokens * self.kv_bytes


# Computed from the published configurations of Qwen/Qwen3.5-9B and -27B; `shape_of_config` gives the same.
KNOWN_SHAPES = {
    9.0: ModelShape(
        body=6.92e9,
        head=1.02e9,
        stored_body=6.92e9,
        vision=0.41e9,
        vision_width=1152 * 27,
        state_bytes=51.5e6,
        kv_bytes=32 * 1024,
        source="its published shape",
    ),
    27.0: ModelShape(
        body=24.35e9,
        head=1.27e9,
        stored_body=24.35e9,
        vision=0.41e9,
        vision_width=1152 * 27,
        state_bytes=154e6,
        kv_bytes=64 * 1024,
        source="its published shape",
    ),
}
"""By 10^9 parameters."""


def find_shape(model: str) -> ModelShape | None:
    """Return the shape of a model by its folder or name; None if neither tells."""
    config_path = Path(model) / "config.json"
    if config_path.is_file():
        try:
            return shape_of_config(json.loads(config_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return _shape_by_name(model)


def billions_in_name(model: str) -> float | None:
    """Return the 10^9 parameters that a model's name tells, such as 9 for Qwen/Qwen3.5-9B."""
    size = _SIZE.search(Path(model).name.lower())
    return float(size[1]) if size else None


def _shape_by_name(model: str) -> ModelShape | None:
    name, stored = Path(model).name.lower(), billions_in_name(model)
    if not stored:
        return None
    if name.startswith("qwen3.") and stored in KNOWN_SHAPES and not _ACTIVE_SIZE.search(name):
        return KNOWN_SHAPES[stored]
    active_size = _ACTIVE_SIZE.search(name)
    active = float(active_size[1]) if active_size else stored
    nearest = min(KNOWN_SHAPES, key=lambda size: abs(size - stored))
    shape, scale = KNOWN_SHAPES[nearest], active / nearest
    return replace(
        shape,
        body=shape.body * scale,
        head=shape.head * min(scale, 1),
        stored_body=shape.body * stored / nearest,
        state_bytes=shape.state_bytes * scale,
        kv_bytes=shape.kv_bytes * scale,
        source=f"an estimate, scaled from the {nearest:g}B model by the name",
    )


def shape_of_config(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape of a checkpoint by its `config.json`.

    Raises:
        KeyError: it is not of the form that transformers writes for a decoder.
    """
    text = config.get("text_config", config)
    num_layers, vocab_size = text["num_hidden_layers"], text["vocab_size"]
    num_linear = _count_linear_layers(text)
    num_full = num_layers - num_linear
    mixers = num_full * _attention_params(text, gated=num_linear > 0) + num_linear * _linear_attention_params(text)
    vision = config.get("vision_config") or {"depth": 0, "hidden_size": 0, "intermediate_size": 0}
    return ModelShape(
        body=mixers + num_layers * _mlp_params(text, text.get("num_experts_per_tok")),
        head=vocab_size * text["hidden_size"],
        stored_body=mixers + num_layers * _mlp_params(text, text.get("num_experts")),
        vision=vision["depth"]
        * _vision_layer_params(hidden_size=vision["hidden_size"], intermediate_size=vision["intermediate_size"]),
        vision_width=vision["depth"] * vision["hidden_size"],
        state_bytes=num_linear * _linear_state_bytes(text),
        kv_bytes=num_full * 2 * text["num_key_value_heads"] * _head_dim(text) * BYTES_PER_VALUE,
        source="its config.json",
    )


def _count_linear_layers(text: Mapping[str, Any]) -> int:
    if "linear_num_value_heads" not in text:
        return 0
    if layer_types := text.get("layer_types"):
        return int(sum(kind == "linear_attention" for kind in layer_types))
    num_layers = int(text["num_hidden_layers"])
    return num_layers - num_layers // int(text.get("full_attention_interval", FULL_ATTENTION_INTERVAL))


def _head_dim(text: Mapping[str, Any]) -> int:
    return int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])


def _attention_params(text: Mapping[str, Any], *, gated: bool) -> float:
    """Count the projections of one full-attention layer; the hybrid models gate its output."""
    width, kv_width = (text[heads] * _head_dim(text) for heads in ("num_attention_heads", "num_key_value_heads"))
    return float(text["hidden_size"] * ((3 if gated else 2) * width + 2 * kv_width))


def _linear_sizes(text: Mapping[str, Any]) -> tuple[int, int]:
    """Return the widths of keys and values of a Gated DeltaNet layer, 0 in a model without any."""
    if "linear_num_key_heads" not in text:
        return 0, 0
    return (
        text["linear_num_key_heads"] * text["linear_key_head_dim"],
        text["linear_num_value_heads"] * text["linear_value_head_dim"],
    )


def _linear_attention_params(text: Mapping[str, Any]) -> float:
    keys, values = _linear_sizes(text)
    return float(text["hidden_size"] * (2 * keys + 3 * values + 2 * text.get("linear_num_value_heads", 0)))


def _linear_state_bytes(text: Mapping[str, Any]) -> float:
    keys, values = _linear_sizes(text)
    recurrent = values * text.get("linear_key_head_dim", 0) * 4
    convolution = (2 * keys + values) * (text.get("linear_conv_kernel_dim", 4) - 1) * BYTES_PER_VALUE
    return float(recurrent + convolution)


def _mlp_params(text: Mapping[str, Any], num_experts: int | None) -> float:
    """Count one layer's feed-forward parameters, with so many of its experts if it has any."""
    hidden_size = text["hidden_size"]
    if num_experts is None:
        return float(3 * hidden_size * text["intermediate_size"])
    routed = num_experts * text["moe_intermediate_size"] + text.get("shared_expert_intermediate_size", 0)
    return float(hidden_size * (3 * routed + text["num_experts"]))


def _vision_layer_params(*, hidden_size: int, intermediate_size: int) -> float:
    return float(4 * hidden_size**2 + 2 * hidden_size * intermediate_size)
