"""SmolLM2-135M-Instruct as a judge of likelihood, computed by ONNX Runtime (see `embedder` for why not PyTorch).

It ranks words and given continuations; it doesn't generate. At this size ranking is reliable and free
generation is not. Knows tokens and probabilities, nothing of ads or labels.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.embedder import Array
from ictc.engines.lite.graph import open_graph, save_graph
from ictc.engines.lite.llama import CACHE_SHAPE, HEAD_DIM, build_head, build_trunk
from ictc.engines.lite.weights import SMOLLM2, locate

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

Positions = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

ROPE_BASE = 100_000.0
MASKED = np.float32(-1e9)
NOTHING_READ = np.empty((*CACHE_SHAPE[:2], 0, HEAD_DIM), np.float32)
TOKENIZER_FILE, TRUNK_FILE, HEAD_FILE = "tokenizer.json", "trunk.onnx", "head.onnx"
CACHED_PROMPTS = 16
CONTROL_TOKEN = 3
"""The GGUF token type of `<|im_start|>` and its like."""


@dataclass(frozen=True, slots=True)
class PromptState:
    """A prompt as the model remembers it.

    Attributes:
        cache: keys and values of all layers, shape (60, 3, tokens, 64).
        log_probs: of the next token, shape (vocabulary,).
    """

    cache: Array
    log_probs: Array

    @property
    def num_tokens(self) -> int:
        num_tokens: int = self.cache.shape[2]
        return num_tokens


class LanguageModel:
    """Tells how likely text is after a prompt.

    Architecture: Llama (Touvron et al., 2023) with grouped-query attention and tied embeddings.
    """

    def __init__(self) -> None:
        self._trunk, self._head, self._tokenizer = load_converted()
        self.read = lru_cache(CACHED_PROMPTS)(self._read)

    def whole_words(self) -> dict[str, int]:
        """Return the words that follow a space in one token, with their token ids."""
        marker = "Ġ"  # how byte-level BPE writes a leading space
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return {token[1:]: id_ for token, id_ in vocabulary.items() if token[0] == marker and token[1:].isalpha()}

    def count_tokens(self, text: str) -> int:
        return len(self._encode(text))

    def _read(self, prompt: str) -> PromptState:
        """Read a prompt, chat markup included; `read` remembers the latest ones."""
        return self._read_ids(self._encode(prompt), None)

    def read_on(self, state: PromptState, text: str) -> PromptState:
        """Read more text after what was read before."""
        return self._read_ids(self._encode(text), state)

    def log_likelihoods(self, state: PromptState, continuations: Sequence[str]) -> Array:
        """Return the log-probability of each continuation as a whole, shape (N,)."""
        encoded = [self._encode(text) for text in continuations]
        ids = [id_ for one in encoded for id_ in one]
        hidden, owner, offsets = self._forward_apart(encoded, state)
        # Token i is predicted from token i-1, the first of each continuation from the prompt.
        log_probs = np.vstack([state.log_probs[None], self._log_probs(hidden)[:-1]])
        log_probs[offsets == 0] = state.log_probs
        totals: Array = np.zeros(len(encoded), np.float32)
        np.add.at(totals, owner, log_probs[np.arange(len(ids)), ids])
        return totals

    def log_probs_after(self, state: PromptState, continuations: Sequence[str], *, token: str) -> Array:
        """Return the log-probability that `token` comes after each continuation, shape (N,)."""
        encoded = [self._encode(text) for text in continuations]
        hidden, _, _ = self._forward_apart(encoded, state)
        last = np.cumsum([len(one) for one in encoded]) - 1
        (id_,) = self._encode(token)
        log_probs: Array = self._log_probs(hidden[last])[:, id_]
        return log_probs

    def _forward_apart(self, encoded: Sequence[list[int]], state: PromptState) -> tuple[Array, Positions, Positions]:
        """Return the hidden states of all continuations in a row, whose each token is, and its place there.

        Each continuation sees the prompt and itself, none of the others.
        """
        owner = np.repeat(np.arange(len(encoded)), [len(one) for one in encoded])
        offsets = np.concatenate([np.arange(len(one)) for one in encoded])
        visible = (owner[:, None] == owner[None, :]) & (offsets[:, None] >= offsets[None, :])
        ids = [id_ for one in encoded for id_ in one]
        hidden, _ = self._forward(ids, state.num_tokens + offsets, visible, state)
        return hidden, owner, offsets

    def _read_ids(self, ids: list[int], past: PromptState | None) -> PromptState:
        positions = np.arange(len(ids)) + (past.num_tokens if past else 0)
        visible = np.tri(len(ids), dtype=np.bool_)
        hidden, cache = self._forward(ids, positions, visible, past)
        return PromptState(cache, self._log_probs(hidden[-1:])[0])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _log_probs(self, hidden: Array) -> Array:
        (log_probs,) = self._head.run(None, {"hidden": hidden})
        return np.asarray(log_probs)

    def _forward(
        self, ids: list[int], positions: Positions, visible: Mask, past: PromptState | None
    ) -> tuple[Array, Array]:
        """Return the last hidden states and all keys and values; each token sees the past and its `visible` row."""
        seen = np.ones((len(ids), past.num_tokens if past else 0), np.bool_)
        bias = np.where(np.hstack([seen, visible]), np.float32(0), MASKED)
        cosine, sine = rotary_angles(positions)
        inputs = {
            "ids": np.array(ids, np.int64),
            "cosine": cosine[:, None, :, None],
            "sine": sine[:, None, :, None],
            "bias": bias,
            "past": past.cache if past else NOTHING_READ,
        }
        hidden, cache = self._trunk.run(None, inputs)
        return np.asarray(hidden), np.asarray(cache)


def rotary_angles(positions: Positions) -> tuple[Array, Array]:
    """Return cosine and sine of each position's angles, both of shape (positions, 32) (RoPE, Su et al., 2021)."""
    frequencies = 1.0 / ROPE_BASE ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = positions[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def load_converted() -> tuple[InferenceSession, InferenceSession, Any]:
    """Return trunk, head and tokenizer, from the cache folder if they were converted before.

    Raises:
        EngineLoadError: the package is missing or not the pinned one.
    """
    from tokenizers import Tokenizer

    source = locate(SMOLLM2)
    folder = cache_dir() / f"smollm2-{SMOLLM2.sha256[:16]}-onnx"
    if not folder.is_dir():
        try:
            save_converted(source, folder=folder)
        except OSError as error:
            logger.warning("lite engine: cannot cache the converted model in %s (%s); it loads slowly", folder, error)
            trunk, head, tokenizer = convert(source)
            return open_graph(trunk.SerializeToString()), open_graph(head.SerializeToString()), tokenizer
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    return open_graph(folder / TRUNK_FILE), open_graph(folder / HEAD_FILE), tokenizer


def cache_dir() -> Path:
    """Return the user's cache folder for this package (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ictc"


def save_converted(source: Path, *, folder: Path) -> None:
    """Write the converted model to `folder`, which appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        staged = Path(temporary) / folder.name
        staged.mkdir()
        trunk, head, tokenizer = convert(source)
        save_graph(trunk, staged / TRUNK_FILE)
        save_graph(head, staged / HEAD_FILE)
        tokenizer.save(str(staged / TOKENIZER_FILE))
        try:
            staged.rename(folder)
        except OSError:
            # Another process was faster: its copy is the same.
            if not folder.is_dir():
                raise


def convert(source: Path) -> tuple[ModelProto, ModelProto, Any]:
    """Return trunk and head of a GGUF file, with weights in half precision, and its tokenizer."""
    from gguf import GGUFReader
    from gguf.quants import dequantize as dequantize_tensor

    reader = GGUFReader(source)
    weights = {
        tensor.name: np.ascontiguousarray(dequantize_tensor(tensor.data, tensor.tensor_type), np.float16)
        for tensor in reader.tensors
    }
    tokens, merges, types = (
        reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges", "token_type")
    )
    return build_trunk(weights), build_head(weights), build_tokenizer(tokens, merges, types)


def build_tokenizer(tokens: list[str], merges: list[str], types: list[int]) -> Any:
    """Return the byte-level BPE tokenizer that the GGUF fields describe."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer: Any = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens([token for token, type_ in zip(tokens, types, strict=True) if type_ == CONTROL_TOKEN])
    return tokenizer
