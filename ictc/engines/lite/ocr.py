"""Reads the words in an image. Knows pixels and text lines, nothing of what they mean."""

from __future__ import annotations

import threading
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ictc.engines.lite.weights import TEXT_DETECTOR, TEXT_RECOGNIZER, locate
from ictc.records import DecodedImage


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text; `left`, `top`, `height` in pixels."""

    text: str
    _: KW_ONLY
    left: float
    top: float
    height: float


class TextReader:
    """PP-OCRv4 through rapidocr-onnxruntime, one session and one CPU thread for each calling thread."""

    def __init__(self) -> None:
        for file in (TEXT_DETECTOR, TEXT_RECOGNIZER):
            locate(file)
        self._local = threading.local()
        self._reader()

    def read(self, image: DecodedImage) -> list[TextLine]:
        """Return the lines of text from top to bottom and left to right."""
        import numpy as np

        pixels = np.frombuffer(image.rgb, np.uint8).reshape(image.height, image.width, 3)
        found, _ = self._reader()(np.ascontiguousarray(pixels[:, :, ::-1]), use_cls=False)
        return [text_line(box, text) for box, text, _ in found or ()]

    def _reader(self) -> Any:
        if not hasattr(self._local, "reader"):
            from rapidocr_onnxruntime import RapidOCR

            self._local.reader = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
        return self._local.reader


def text_line(box: list[list[float]], text: str) -> TextLine:
    """Return the line within `box`, four corners as (x, y)."""
    xs, ys = [x for x, _ in box], [y for _, y in box]
    return TextLine(text.strip(), left=min(xs), top=min(ys), height=max(ys) - min(ys))
