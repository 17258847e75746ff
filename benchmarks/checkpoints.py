"""Qwen3.5 without its weights: configuration, tokenizer and image processor, for vLLM's `load_format=dummy`.

Speed does not depend on what the weights say, so a model of the real sizes can be timed on a machine that has neither
its weights nor a network. The tokenizer is trained on the prompts, so that these take about as many tokens as with the
real one; the model's vocabulary keeps its real size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository import import_test_support

from ictc.tracks import load_track

MAX_IMAGE_TOKENS = 16384
TOKENIZER_SIZE = 4096
TRACKS = ("marketing", "identity", "cultural")
CONTEXT = 32768


@dataclass(frozen=True)
class Preset:
    """The sizes of a model.

    Attributes:
        text, vision: what differs from the defaults of transformers, which are Qwen3.5-9B's.
        mrope_section: adds up to half of the rotary dimensions, which are a quarter of a head's.
        body, head: parameters of the language model's layers and of its last projection, 0 where nobody asks.
    """

    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    mrope_section: tuple[int, int, int] = (11, 11, 10)
    body: float = 0.0
    head: float = 0.0


PRESETS = {
    "9b": Preset(vision={"out_hidden_size": 4096}, body=6.92e9, head=1.02e9),
    "tiny": Preset(
        text={
            **{"vocab_size": TOKENIZER_SIZE, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64},
            **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
        },
        vision={
            **{"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4},
            **{"out_hidden_size": 64, "num_position_embeddings": 256},
        },
        mrope_section=(4, 2, 2),
    ),
}


def build_checkpoint(folder: Path, preset: Preset) -> Path:
    """Write all of a checkpoint but the weights into `folder`, and return it."""
    from transformers import Qwen3_5Config

    tiny_qwen = import_test_support("tiny_qwen")
    folder.mkdir(parents=True, exist_ok=True)
    token_ids = save_tokenizer(folder)
    rope = {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_interleaved": True}
    text = {"rope_parameters": {**rope, "mrope_section": list(preset.mrope_section)}, **preset.text}
    config = Qwen3_5Config(
        text_config={"max_position_embeddings": CONTEXT, "eos_token_id": token_ids["<|im_end|>"], **text},
        vision_config=preset.vision,
        image_token_id=token_ids["<|image_pad|>"],
        video_token_id=token_ids["<|video_pad|>"],
        vision_start_token_id=token_ids["<|vision_start|>"],
        vision_end_token_id=token_ids["<|vision_end|>"],
        architectures=["Qwen3_5ForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    tiny_qwen.save_image_processor(folder, MAX_IMAGE_TOKENS)
    return folder


def save_tokenizer(folder: Path) -> dict[str, int]:
    """Train a tokenizer on the prompts of Step 1, save it with the chat template, and return its vocabulary."""
    from transformers import PreTrainedTokenizerFast

    import_test_support("tiny_qwen").save_tokenizer(folder, vocab_size=512)
    prompts = [load_track(name).caption for name in TRACKS]
    texts = [text for prompt in prompts for text in (prompt.system, prompt.user)]
    small = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = small.train_new_from_iterator(texts, vocab_size=TOKENIZER_SIZE // 2, show_progress=False)
    tokenizer.save_pretrained(folder)
    return dict(tokenizer.get_vocab())
