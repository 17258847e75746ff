"""The BERT architecture as a graph, with mean pooling: what MiniLM computes. Knows weights by their names in
safetensors, nothing of tokens.

Source: Devlin et al. (2019); pooling and unit length by Reimers and Gurevych (2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

Weights = Mapping[str, npt.NDArray[Any]]
"""By name; matrices of shape (out, in)."""

NUM_LAYERS = 6
NUM_HEADS = 12
HIDDEN_DIM = 384
LAYER_NORM_EPSILON = 1e-12


def build_encoder(weights: Weights) -> ModelProto:
    """Return what computes the unit vector of a text, shape (384,), from `embedded` (T, 384), as `embed` gives it."""
    encoder = _Encoder(weights)
    vector = encoder.build()
    return encoder.graph.model(inputs={"embedded": (np.float32, ("t", HIDDEN_DIM))}, outputs={vector: (HIDDEN_DIM,)})


def embed(ids: Sequence[int], weights: Weights) -> npt.NDArray[np.float32]:
    """Return the embeddings of tokens at their positions, shape (T, 384)."""
    tokens = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: len(ids)]
    embedded: npt.NDArray[np.float32] = tokens + places + weights["embeddings.token_type_embeddings.weight"][0]
    return embedded


class _Encoder:
    """Adds the layers to a graph, one after the other."""

    def __init__(self, weights: Weights) -> None:
        self.graph = Graph()
        self._weights = weights
        self._scale = self._number((HIDDEN_DIM // NUM_HEADS) ** -0.5)
        self._half, self._one, self._root = self._number(0.5), self._number(1.0), self._number(0.5**0.5)

    def build(self) -> str:
        """Return the name of the vector."""
        add = self.graph.add
        hidden = self._norm("embedded", name="embeddings.LayerNorm")
        for layer in range(NUM_LAYERS):
            hidden = self._transform(hidden, layer=f"encoder.layer.{layer}")
        mean = add("ReduceMean", hidden, self.graph.constant(np.array([0], np.int64)), keepdims=0)
        return add("LpNormalization", mean, axis=0, p=2)

    def _transform(self, hidden: str, *, layer: str) -> str:
        add = self.graph.add
        attended = self._attend(hidden, layer=f"{layer}.attention.self")
        attended = self._linear(attended, name=f"{layer}.attention.output.dense")
        hidden = self._norm(add("Add", hidden, attended), name=f"{layer}.attention.output.LayerNorm")
        wide = self._gelu(self._linear(hidden, name=f"{layer}.intermediate.dense"))
        return self._norm(
            add("Add", hidden, self._linear(wide, name=f"{layer}.output.dense")), name=f"{layer}.output.LayerNorm"
        )

    def _attend(self, hidden: str, *, layer: str) -> str:
        add = self.graph.add
        query, key, value = (self._linear(hidden, name=f"{layer}.{part}") for part in ("query", "key", "value"))
        scores = add("MatMul", self._heads(query, perm=[1, 0, 2]), self._heads(key, perm=[1, 2, 0]))
        weights = add("Softmax", add("Mul", scores, self._scale), axis=-1)
        mixed = add("MatMul", weights, self._heads(value, perm=[1, 0, 2]))
        return self._reshape(add("Transpose", mixed, perm=[1, 0, 2]), 0, HIDDEN_DIM)

    def _heads(self, x: str, *, perm: list[int]) -> str:
        return self.graph.add("Transpose", self._reshape(x, 0, NUM_HEADS, -1), perm=perm)

    def _gelu(self, x: str) -> str:
        add = self.graph.add
        return add("Mul", add("Mul", x, self._half), add("Add", add("Erf", add("Mul", x, self._root)), self._one))

    def _norm(self, x: str, *, name: str) -> str:
        scale, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self.graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def _linear(self, x: str, *, name: str) -> str:
        product = self.graph.add("MatMul", x, self.graph.constant(self._weights[f"{name}.weight"].T))
        return self.graph.add("Add", product, self._weight(f"{name}.bias"))

    def _weight(self, name: str) -> str:
        return self.graph.constant(self._weights[name])

    def _number(self, value: float) -> str:
        return self.graph.constant(np.float32(value))

    def _reshape(self, x: str, *shape: int) -> str:
        return self.graph.add("Reshape", x, self.graph.constant(np.array(shape, np.int64)))
