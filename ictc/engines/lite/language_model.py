"""SmolLM2-135M-Instruct as a judge of likelihood, computed with NumPy (see `embedder` for why).

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
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.embedder import Array, softmax
from ictc.engines.lite.weights import SMOLLM2, locate

logger = logging.getLogger(__name__)

KeyValue = tuple[Array, Array]
Positions = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

NUM_LAYERS = 30
NUM_HEADS = 9
NUM_KEY_VALUE_HEADS = 3
HEAD_DIM = 64
ROPE_BASE = 100_000.0
RMS_NORM_EPSILON = np.float32(1e-5)
MASKED = np.float32(-1e9)
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
CACHED_PROMPTS = 16
CONTROL_TOKEN = 3
"""The GGUF token type of `<|im_start|>` and its like."""


@dataclass(frozen=True, slots=True)
class PromptState:
    """A prompt as the model remembers it.

    Attributes:
        keys_values: per layer, both of shape (3, tokens, 64).
        log_probs: of the next token, shape (vocabulary,).
    """

    keys_values: tuple[KeyValue, ...]
    log_probs: Array

    @property
    def num_tokens(self) -> int:
        num_tokens: int = self.keys_values[0][0].shape[1]
        return num_tokens


class LanguageModel:
    """Tells how likely text is after a prompt.

    Architecture: Llama (Touvron et al., 2023) with grouped-query attention and tied embeddings.
    """

    def __init__(self) -> None:
        weights, self._tokenizer = load_converted()
        # Transposed once and contiguous: the products are then plain row-by-column BLAS calls.
        self._weights = {
            name: np.ascontiguousarray(tensor.T, np.float32) if tensor.ndim == 2 else tensor.astype(np.float32)
            for name, tensor in weights.items()
        }
        self._embeddings = np.ascontiguousarray(self._weights["token_embd.weight"].T)
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
        hidden, keys_values = self._forward(ids, positions, visible, past)
        return PromptState(keys_values, self._log_probs(hidden[-1:])[0])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _log_probs(self, hidden: Array) -> Array:
        logits: Array = hidden @ self._weights["token_embd.weight"]
        logits = logits - logits.max(axis=-1, keepdims=True)
        log_probs: Array = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return log_probs

    def _forward(
        self, ids: list[int], positions: Positions, visible: Mask, past: PromptState | None
    ) -> tuple[Array, tuple[KeyValue, ...]]:
        """Return the last hidden states and all keys and values; each token sees the past and its `visible` row."""
        seen = np.ones((len(ids), past.num_tokens if past else 0), np.bool_)
        bias = np.where(np.hstack([seen, visible]), np.float32(0), MASKED)
        rotation = rotary_angles(positions)
        hidden: Array = self._embeddings[ids]
        keys_values = []
        for layer in range(NUM_LAYERS):
            before = past.keys_values[layer] if past else None
            attended, key_value = self._attend(hidden, f"blk.{layer}", before, rotation, bias)
            hidden = hidden + attended
            hidden = hidden + self._feed_forward(hidden, f"blk.{layer}")
            keys_values.append(key_value)
        return self._rms_norm(hidden, "output_norm"), tuple(keys_values)

    def _attend(
        self, hidden: Array, layer: str, past: KeyValue | None, rotation: tuple[Array, Array], bias: Array
    ) -> tuple[Array, KeyValue]:
        normed = self._rms_norm(hidden, f"{layer}.attn_norm")
        query = rotate(self._heads(normed, f"{layer}.attn_q"), rotation)
        key = rotate(self._heads(normed, f"{layer}.attn_k"), rotation)
        value = self._heads(normed, f"{layer}.attn_v")
        if past is not None:
            key, value = np.concatenate([past[0], key], axis=1), np.concatenate([past[1], value], axis=1)
        group = NUM_HEADS // NUM_KEY_VALUE_HEADS
        scores = query @ np.repeat(key, group, axis=0).transpose(0, 2, 1) / np.float32(HEAD_DIM**0.5)
        mixed = softmax(scores + bias) @ np.repeat(value, group, axis=0)
        merged = mixed.transpose(1, 0, 2).reshape(hidden.shape)
        return merged @ self._weights[f"{layer}.attn_output.weight"], (key, value)

    def _heads(self, x: Array, name: str) -> Array:
        projected: Array = x @ self._weights[f"{name}.weight"]
        return projected.reshape(len(x), -1, HEAD_DIM).transpose(1, 0, 2)

    def _feed_forward(self, hidden: Array, layer: str) -> Array:
        normed = self._rms_norm(hidden, f"{layer}.ffn_norm")
        gate = normed @ self._weights[f"{layer}.ffn_gate.weight"]
        swish = gate / (1 + np.exp(-gate))
        result: Array = (swish * (normed @ self._weights[f"{layer}.ffn_up.weight"])) @ (
            self._weights[f"{layer}.ffn_down.weight"]
        )
        return result

    def _rms_norm(self, x: Array, name: str) -> Array:
        scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + RMS_NORM_EPSILON)
        result: Array = x / scale * self._weights[f"{name}.weight"]
        return result


def rotary_angles(positions: Positions) -> tuple[Array, Array]:
    """Return cosine and sine of each position's angles, both of shape (positions, 32) (RoPE, Su et al., 2021)."""
    frequencies = 1.0 / ROPE_BASE ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = positions[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: Array, rotation: tuple[Array, Array]) -> Array:
    """Rotate neighboring pairs, the layout in which GGUF stores query and key weights."""
    cosine, sine = rotation
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty_like(x)
    rotated[..., 0::2] = even * cosine - odd * sine
    rotated[..., 1::2] = even * sine + odd * cosine
    return rotated


def load_converted() -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """Return weights by GGUF name and the tokenizer, from the cache folder if they were converted before.

    Raises:
        EngineLoadError: the package is missing or not the pinned one.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    source = locate(SMOLLM2)
    folder = cache_dir() / f"smollm2-{SMOLLM2.sha256[:16]}"
    if not folder.is_dir():
        try:
            save_converted(source, folder=folder)
        except OSError as error:
            logger.warning("lite engine: cannot cache the converted model in %s (%s); it loads slowly", folder, error)
            return dequantize(source)
    return load_file(folder / WEIGHTS_FILE), Tokenizer.from_file(str(folder / TOKENIZER_FILE))


def cache_dir() -> Path:
    """Return the user's cache folder for this package (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ictc"


def save_converted(source: Path, *, folder: Path) -> None:
    """Write the converted model to `folder`, which appears whole or not at all."""
    from safetensors.numpy import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        staged = Path(temporary) / folder.name
        staged.mkdir()
        weights, tokenizer = dequantize(source)
        save_file(weights, staged / WEIGHTS_FILE)
        tokenizer.save(str(staged / TOKENIZER_FILE))
        try:
            staged.rename(folder)
        except OSError:
            # Another process was faster: its copy is the same.
            if not folder.is_dir():
                raise


def dequantize(source: Path) -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """Return the weights of a GGUF file in half precision, and its tokenizer."""
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
    return weights, build_tokenizer(tokens, merges, types)


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
