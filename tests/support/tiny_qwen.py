"""Build tiny random checkpoints that the real vLLM loads, on a GPU or a CPU, within seconds.

Knows the sizes that vLLM's kernels accept; the answers of such a model are noise in the shape that a request asks for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
THINKING_TOKENS = ("<think>", "</think>")  # part of the text, as in Qwen's own tokenizer
TRAINING_TEXT = (
    "The ad shows a product, its brand, and the words on the image.",
    "Answer with the category, a short summary, and a label of two to four words.",
    '{"category": "sports shoes", "brand": "none", "text": "limited time only", "ui_only": false}',
)
PATCH_SIZE_PX = 16
MERGE_SIZE = 2


def build_tiny_checkpoint(
    folder: Path,
    *,
    vision: bool = True,
    hidden_size: int = 64,
    num_layers: int = 4,
    vocab_size: int = 512,
    num_phrases: int = 0,
    max_position_embeddings: int = 8192,
    max_image_tokens: int = 16384,
    seed: int = 3,
) -> Path:
    """Write a checkpoint with its tokenizer, chat template and image processor into `folder` and return it.

    Args:
        vision: a Qwen3.5 with its vision tower; else a plain Qwen3 that reads text only.
        num_layers: a multiple of 4 for Qwen3.5, which has one full-attention layer in four.
        num_phrases: tokens of two words each, which no text has: with many of them, noise soon is as long as it may be.
        max_image_tokens: what the shipped image processor allows, of 32×32 px each.
        seed: equal seeds give equal weights; with 3, a caption may be of an ad or of an interface only.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    token_ids = save_tokenizer(folder, vocab_size, draw_phrases(num_phrases))
    sizes = text_config(token_ids, hidden_size, num_layers, max_position_embeddings)
    torch.manual_seed(seed)
    model = vision_model(sizes, token_ids) if vision else text_model(sizes)
    model = model.to(torch.bfloat16)
    model.generation_config.eos_token_id = token_ids["<|im_end|>"]
    model.save_pretrained(folder)
    if vision:
        save_image_processor(folder, max_image_tokens)
    return folder


def draw_phrases(number: int) -> list[str]:
    """Return distinct phrases of two words that mean nothing, with a space before them."""
    random = Random(number)
    phrases = (" " + draw_word(random) for _ in count())
    return list(islice(dict.fromkeys(islice(phrases, 2 * number)), number))


def draw_word(random: Random) -> str:
    """Return four syllables."""
    return "".join(random.choice("bdfgklmnprstvz") + random.choice("aeiou") for _ in range(4))


def save_tokenizer(folder: Path, vocab_size: int, phrases: Sequence[str]) -> dict[str, int]:
    """Train a byte-level BPE tokenizer, save it with the chat template, and return its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TRAINING_TEXT * 2, trainer)
    bpe.add_tokens([*THINKING_TOKENS, *phrases])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[3:]),
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return dict(tokenizer.get_vocab())


def text_config(token_ids: dict[str, int], hidden_size: int, num_layers: int, max_length: int) -> dict[str, Any]:
    """Return the settings that both kinds of model share."""
    return {
        "vocab_size": len(token_ids),
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": max_length,
        "eos_token_id": token_ids["<|im_end|>"],
        "tie_word_embeddings": False,
        "initializer_range": 0.1,  # so large that what a model says depends on more than the last token
    }


def text_model(sizes: dict[str, Any]) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**sizes))


def vision_model(sizes: dict[str, Any], token_ids: dict[str, int]) -> Any:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    rotary_dim = int(sizes["head_dim"] * 0.25)
    text = sizes | {
        "linear_key_head_dim": 128,  # the CPU kernel of the Gated DeltaNet layers refuses 32
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [rotary_dim // 4, rotary_dim // 8, rotary_dim // 8],  # must add up to rotary_dim / 2
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": sizes["hidden_size"],
        "intermediate_size": 2 * sizes["hidden_size"],
        "num_heads": 4,
        "patch_size": PATCH_SIZE_PX,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": 2,
        "out_hidden_size": sizes["hidden_size"],
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [],
    }
    return Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(
            text_config=text,
            vision_config=vision,
            image_token_id=token_ids["<|image_pad|>"],
            video_token_id=token_ids["<|video_pad|>"],
            vision_start_token_id=token_ids["<|vision_start|>"],
            vision_end_token_id=token_ids["<|vision_end|>"],
            tie_word_embeddings=False,
        )
    )


def save_image_processor(folder: Path, max_image_tokens: int) -> None:
    token_px = (PATCH_SIZE_PX * MERGE_SIZE) ** 2
    settings = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH_SIZE_PX,
        "temporal_patch_size": 2,
        "merge_size": MERGE_SIZE,
        "size": {"shortest_edge": 64 * token_px, "longest_edge": max_image_tokens * token_px},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
