"""Why vLLM did not start, in one line for the user, with a remedy where the cause is a known one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import ValidationError

from ictc.config import ModelSpec
from ictc.engines.gpu import Gpu, describe_memory
from ictc.errors import EngineLoadError

MAX_CAUSE_CHARS = 300
PROCESS_FAILED = "initialization failed"
"""What vLLM's error says when the cause is in one of its processes."""

_ESTIMATED_LENGTH = re.compile(r"estimated maximum model length is (\d+)")
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|No available memory for the cache blocks", re.IGNORECASE)
_HUB = re.compile(
    r"valid model identifier|Repository ?Not ?Found|LocalEntryNotFound|cached snapshot folder|couldn't connect|"
    r"outgoing traffic has been disabled|ConnectError|MaxRetryError|[Nn]ame resolution"
)
_NOT_TO_BE_HAD = (
    "it is no folder here, not in the local cache, and not to be had from the model hub: check its spelling"
)
_REMEDIES = (
    ("Free memory on device", "end what else uses the GPU, choose others with --gpu_ids, or lower --gpu_util"),
    ("greater than the derived max_model_len", "lower --max_model_len"),
    ("divisible by tensor parallel size", "choose --num_gpus, --vlm_tp or --llm_tp so that it divides that number"),
    ("Quantization method specified in the model config", "leave --quantization out: the checkpoint brings its own"),
    ("Cannot find the config file for", "--quantization awq and gptq need a checkpoint quantized that way"),
    ("gated repo", "accept its license on the model hub and log in there"),
    (": -9}", "the system killed one of its processes, most likely for lack of main memory"),
)
"""What a cause says, and what to do about it."""


def explain_load_failure(
    spec: ModelSpec, error: BaseException, logged_cause: str | None, gpus: Sequence[Gpu]
) -> EngineLoadError:
    """Return what to tell the user.

    Args:
        error: what vLLM raised here, which may only say that one of its processes failed.
        logged_cause: the error of that process, from its log.
        gpus: those that were to be used, () on a CPU.
    """
    cause = describe_error(error)
    if PROCESS_FAILED in cause and logged_cause:
        cause = logged_cause
    if _HUB.search(cause):
        return EngineLoadError(f"no model {spec.model}: {_NOT_TO_BE_HAD}")
    first_sentence = one_line(cause).split(". ")[0].rstrip(".")
    return EngineLoadError(f"vLLM could not load {spec.model}: {first_sentence}; {_find_remedy(spec, cause, gpus)}")


def _find_remedy(spec: ModelSpec, cause: str, gpus: Sequence[Gpu]) -> str:
    if length := _ESTIMATED_LENGTH.search(cause):
        return f"lower --max_model_len to {length[1]}, or use more GPUs or a smaller model"
    if _OUT_OF_MEMORY.search(cause) and gpus:
        return describe_memory(spec, gpus)
    for words, remedy in _REMEDIES:
        if words in cause:
            return remedy
    return "the log file has the details"


def describe_error(error: BaseException) -> str:
    """Return what `error` says; of several invalid values, the first."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        return where + first["msg"].removeprefix("Value error, ")
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """Return `text` without line breaks, shortened."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CAUSE_CHARS else line[: MAX_CAUSE_CHARS - 1] + "…"
