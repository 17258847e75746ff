"""Which models of a run have come to be others under the same name: a checkpoint that was trained on, a newer revision,
another model of a server.

What a model is when a run directory first uses it is noted there; as long as it stays that, keys say nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

import orjson

from ictc.config import ModelSpec
from ictc.engines.provider import identify_served_model
from ictc.storage.atomic import write_atomic
from ictc.storage.rundir import RunDirectory

NUM_SAMPLES = 64
SAMPLE_BYTES = 2**14
"""Of a large file: training changes bytes everywhere, or in a layer of some hundred MB."""

WHOLE_BYTES = 2**25
"""Files of up to this size are read as a whole: configurations, tokenizers, indices."""


def identify_model(spec: ModelSpec) -> str | None:
    """Return what tells a model from others of its name, None if nothing of it lies here and no server says it."""
    if spec.engine == "openai":
        return identify_served_model(spec)
    folder = Path(spec.model)
    if spec.engine != "vllm":
        return None
    if folder.is_dir():
        return digest_checkpoint(folder)
    revision = spec.options.get("revision") or "main"
    try:
        return (hub_folder() / f"models--{spec.model.replace('/', '--')}" / "refs" / str(revision)).read_text().strip()
    except (OSError, ValueError):
        return None


def hub_folder() -> Path:
    """Return where the client of the Hugging Face Hub keeps what it has downloaded."""
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub"))


def digest_checkpoint(folder: Path) -> str:
    """Return a digest of the files of a checkpoint: of their names, sizes and contents, of large ones of samples."""
    digest = blake2b(digest_size=16)
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        for sample in iter_samples(path):
            digest.update(sample)
    return digest.hexdigest()


def iter_samples(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces, of a large one pieces from all over it."""
    size = path.stat().st_size
    step = SAMPLE_BYTES if size <= WHOLE_BYTES else size // NUM_SAMPLES
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            yield file.read(SAMPLE_BYTES)


def models_path(directory: RunDirectory) -> Path:
    """Return where a run directory notes what its models are."""
    return directory.manifest_path.with_name("models.json")


def load_models(directory: RunDirectory) -> dict[str, str]:
    """Return what the models of a run directory were when it first used them, by name."""
    try:
        noted = orjson.loads(models_path(directory).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return noted if isinstance(noted, dict) else {}


def find_models(specs: Iterable[ModelSpec]) -> dict[str, str]:
    """Return what the models are now, by name, as far as that can be told."""
    found = {name: identify_model(spec) for name, spec in {spec.model: spec for spec in specs}.items()}
    return {name: identity for name, identity in found.items() if identity is not None}


def note_models(directory: RunDirectory, models: Mapping[str, str]) -> None:
    """Note models that a run directory has not used before.

    Raises:
        StorageError: the disk refused.
    """
    noted = load_models(directory)
    if not models.keys() <= noted.keys():
        write_atomic(models_path(directory), orjson.dumps({**models, **noted}, option=orjson.OPT_SORT_KEYS))
