"""Describes computations to ONNX Runtime, which packs the weights once for its products of matrices.

NumPy packs them anew for each product: of a few tokens that takes four times as long as the product itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

Shape = tuple[int | str, ...]
"""Of an input or output; names stand for sizes that vary."""

OPSET, IR_VERSION = 18, 9
"""Of the ONNX format: known to ONNX Runtime since 1.17."""


class Graph:
    """Operations in the order in which they were added; values go by name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: npt.ArrayLike) -> str:
        """Add a constant and return its name; numbers in half precision are computed with in single precision."""
        from onnx import TensorProto, numpy_helper

        array = np.ascontiguousarray(value).reshape(np.shape(value))
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return self.add("Cast", name, to=TensorProto.FLOAT) if array.dtype == np.float16 else name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of ONNX and return the name of what it gives."""
        output = f"{kind}_{len(self._nodes)}"
        self._add(kind, inputs, [output], attributes)
        return output

    def split(self, value: str, num_parts: int, *, axis: int) -> list[str]:
        """Divide a value into equal parts and return their names."""
        parts = [f"Split_{len(self._nodes)}_{number}" for number in range(num_parts)]
        self._add("Split", [value], parts, {"axis": axis, "num_outputs": num_parts})
        return parts

    def _add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any]) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))

    def model(
        self, *, inputs: Mapping[str, tuple[type[np.generic], Shape]], outputs: Mapping[str, Shape]
    ) -> ModelProto:
        """Return the graph as a model.

        Args:
            inputs: type and shape by name.
            outputs: shapes by name, all in single precision.
        """
        from onnx import TensorProto, helper

        takes = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
            for name, (kind, shape) in inputs.items()
        ]
        gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, "graph", takes, gives, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def save_graph(model: ModelProto, path: Path) -> None:
    """Write a model, its weights in a file beside it."""
    import onnx

    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.weights")


def open_graph(model: Path | bytes) -> InferenceSession:
    """Return what computes a model, on one core for each calling thread."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model
    return InferenceSession(source, options, providers=["CPUExecutionProvider"])
