"""Make torchvision's CUDA build importable beside a CPU build of torch; put this folder on PYTHONPATH.

The package index has torchvision for CUDA only. Its compiled operators do not load beside CPU torch, but its Python
transforms, all that the image processors need, only want two operators to have a schema. Where the operators load,
nothing is changed.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class TorchvisionSchemas(importlib.abc.MetaPathFinder):
    """Register the schemas before the first import of torchvision, which itself is found as usual."""

    library: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec and spec.origin and not operators_load(Path(spec.origin).parent):
            self.register()
        return spec

    def register(self) -> None:
        import torch

        type(self).library = torch.library.Library("torchvision", "FRAGMENT")  # the schemas live as long as it does
        for schema in SCHEMAS:
            self.library.define(schema)


def operators_load(package: Path) -> bool:
    import torch

    try:
        for library in package.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


# Processes that the tests start find this at their start, and some, such as those of xdist, import it once more.
if TorchvisionSchemas.__name__ not in (type(finder).__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, TorchvisionSchemas())
