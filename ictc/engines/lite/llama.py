"""The Llama architecture as a graph: what SmolLM2 computes. Knows weights by their GGUF names, nothing of tokens.

Source: Touvron et al. (2023), with grouped-query attention (Ainslie et al., 2023), rotary positions (Su et al., 2021)
and tied embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

Weights = Mapping[str, npt.NDArray[Any]]
"""By GGUF name; matrices of shape (out, in)."""

NUM_LAYERS = 30
NUM_HEADS = 9
NUM_KEY_VALUE_HEADS = 3
HEAD_DIM = 64
HIDDEN_DIM = NUM_HEADS * HEAD_DIM
RMS_NORM_EPSILON = np.float32(1e-5)

CACHE_SHAPE: tuple[int, int, str, int] = (2 * NUM_LAYERS, NUM_KEY_VALUE_HEADS, "tokens", HEAD_DIM)
"""Of all keys and values: those of layer i in the rows 2i and 2i + 1."""


def build_trunk(weights: Weights) -> ModelProto:
    """Return what computes the last hidden states of N tokens after P that were read before.

    Inputs: `ids` (N,); `cosine` and `sine` (N, 1, 32, 1) of their positions; `bias` (N, P + N), added to the scores of
    attention; `past`, the keys and values of the P tokens. Outputs: `hidden` (N, 576) and `cache`, all keys and values.
    """
    trunk = _Trunk(weights)
    hidden, cache = trunk.build()
    past = (*CACHE_SHAPE[:2], "past", HEAD_DIM)
    angles = ("n", 1, HEAD_DIM // 2, 1)
    inputs = {"cosine": angles, "sine": angles, "bias": ("n", "tokens"), "past": past}
    return trunk.graph.model(
        inputs={"ids": (np.int64, ("n",)), **{name: (np.float32, shape) for name, shape in inputs.items()}},
        outputs={hidden: ("n", HIDDEN_DIM), cache: CACHE_SHAPE},
    )


def build_head(weights: Weights) -> ModelProto:
    """Return what computes the log-probabilities of the next token, shape (N, vocabulary), from `hidden` (N, 576)."""
    graph = Graph()
    logits = graph.add("MatMul", "hidden", graph.constant(weights["token_embd.weight"].T))
    log_probs = graph.add("LogSoftmax", logits, axis=-1)
    return graph.model(
        inputs={"hidden": (np.float32, ("n", HIDDEN_DIM))},
        outputs={log_probs: ("n", len(weights["token_embd.weight"]))},
    )


class _Trunk:
    """Adds the layers to a graph, one after the other."""

    def __init__(self, weights: Weights) -> None:
        self.graph = Graph()
        self._weights = weights
        self._epsilon = self.graph.constant(RMS_NORM_EPSILON)
        self._scale = self.graph.constant(np.float32(HEAD_DIM**-0.5))
        self._first, self._last = self._axis(0), self._axis(-1)

    def build(self) -> tuple[str, str]:
        """Return the names of the hidden states and of all keys and values."""
        add = self.graph.add
        past = self.graph.split("past", 2 * NUM_LAYERS, axis=0)
        past = [add("Squeeze", one, self._first) for one in past]
        hidden = add("Gather", self.graph.constant(self._weights["token_embd.weight"]), "ids")
        cache: list[str] = []
        for layer in range(NUM_LAYERS):
            name = f"blk.{layer}"
            attended, *key_value = self._attend(hidden, layer=name, key=past[2 * layer], value=past[2 * layer + 1])
            cache += key_value
            hidden = add("Add", hidden, attended)
            hidden = add("Add", hidden, self._feed_forward(hidden, layer=name))
        cache = [add("Unsqueeze", one, self._first) for one in cache]
        return self._norm(hidden, name="output_norm"), add("Concat", *cache, axis=0)

    def _attend(self, hidden: str, *, layer: str, key: str, value: str) -> tuple[str, str, str]:
        """Return what attention adds, and the keys and values that it saw; `key` and `value` are those of the past."""
        add, groups = self.graph.add, NUM_KEY_VALUE_HEADS
        normed = self._norm(hidden, name=f"{layer}.attn_norm")
        query = self._heads(self._rotate(self._linear(normed, name=f"{layer}.attn_q")))
        key = add("Concat", key, self._heads(self._rotate(self._linear(normed, name=f"{layer}.attn_k"))), axis=1)
        value = add("Concat", value, self._heads(self._linear(normed, name=f"{layer}.attn_v")), axis=1)
        # The heads that share keys and values stand below each other, so that these need no copies.
        shared = self._reshape(query, groups, -1, HEAD_DIM)
        scores = add("Mul", add("MatMul", shared, add("Transpose", key, perm=[0, 2, 1])), self._scale)
        weights = add("Softmax", add("Add", self._reshape(scores, NUM_HEADS, -1, 0), "bias"), axis=-1)
        mixed = self._reshape(add("MatMul", self._reshape(weights, groups, -1, 0), value), NUM_HEADS, -1, HEAD_DIM)
        merged = self._reshape(add("Transpose", mixed, perm=[1, 0, 2]), 0, HIDDEN_DIM)
        return self._linear(merged, name=f"{layer}.attn_output"), key, value

    def _heads(self, x: str) -> str:
        return self.graph.add("Transpose", self._reshape(x, 0, -1, HEAD_DIM), perm=[1, 0, 2])

    def _rotate(self, x: str) -> str:
        """Rotate neighboring pairs, the layout in which GGUF stores query and key weights."""
        add = self.graph.add
        even, odd = self.graph.split(self._reshape(x, 0, -1, HEAD_DIM // 2, 2), 2, axis=-1)
        first = add("Sub", add("Mul", even, "cosine"), add("Mul", odd, "sine"))
        second = add("Add", add("Mul", even, "sine"), add("Mul", odd, "cosine"))
        return add("Concat", first, second, axis=-1)

    def _feed_forward(self, hidden: str, *, layer: str) -> str:
        add = self.graph.add
        normed = self._norm(hidden, name=f"{layer}.ffn_norm")
        gate = self._linear(normed, name=f"{layer}.ffn_gate")
        swish = add("Mul", gate, add("Sigmoid", gate))
        return self._linear(add("Mul", swish, self._linear(normed, name=f"{layer}.ffn_up")), name=f"{layer}.ffn_down")

    def _norm(self, x: str, *, name: str) -> str:
        add = self.graph.add
        mean = add("ReduceMean", add("Mul", x, x), self._last, keepdims=1)
        scaled = add("Div", x, add("Sqrt", add("Add", mean, self._epsilon)))
        return add("Mul", scaled, self.graph.constant(self._weights[f"{name}.weight"]))

    def _linear(self, x: str, *, name: str) -> str:
        return self.graph.add("MatMul", x, self.graph.constant(self._weights[f"{name}.weight"].T))

    def _reshape(self, x: str, *shape: int) -> str:
        return self.graph.add("Reshape", x, self.graph.constant(np.array(shape, np.int64)))

    def _axis(self, axis: int) -> str:
        return self.graph.constant(np.array([axis], np.int64))
