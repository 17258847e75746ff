"""Which of `--engine_options` can change an answer: all but those that are known not to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ictc.config.engine import EngineName
from ictc.secrecy import drop_secrets

_SIZES = frozenset(
    """
    max_num_seqs max_num_batched_tokens max_num_partial_prefills max_long_partial_prefills long_prefill_token_threshold
    block_size swap_space cpu_offload_gb num_gpu_blocks_override kv_cache_memory_bytes gpu_memory_utilization
    mm_processor_cache_gb mm_processor_cache_type mm_encoder_tp_mode max_model_len
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
_PLACES = frozenset(
    """
    tensor_parallel_size pipeline_parallel_size data_parallel_size data_parallel_rank data_parallel_size_local
    data_parallel_backend decode_context_parallel_size prefill_context_parallel_size enable_expert_parallel
    distributed_executor_backend max_parallel_loading_workers ray_workers_use_nsight disable_custom_all_reduce
    worker_cls worker_extension_cls device
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
_WAYS = frozenset(
    """
    enforce_eager compilation_config performance_mode optimization_level async_scheduling scheduling_policy
    enable_prefix_caching enable_chunked_prefill disable_hybrid_kv_cache_manager prefix_caching_hash_algo
    speculative_config stream_interval
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
_LOADING = frozenset(
    """
    download_dir safetensors_load_strategy use_tqdm_on_load pt_load_map_location hf_token
    served_model_name skip_tokenizer_init tokenizer_pool_size
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
_WORDS = frozenset(
    """
    disable_log_stats disable_log_requests enable_log_requests show_hidden_metrics_for_version otlp_traces_endpoint
    collect_detailed_traces kv_cache_metrics cudagraph_metrics enable_logging_iteration_details
    """.split()  # noqa: SIM905 - a list literal would be a page long
)

HARMLESS: Mapping[EngineName, frozenset[str]] = {
    "vllm": _SIZES | _PLACES | _WAYS | _LOADING | _WORDS,
    "openai": frozenset({"api_key_env", "timeout_s", "max_retries", "max_pause_s", "max_outage_s", "window"}),
    "scripted": frozenset({"latency_s", "window", "fail", "invalid", "die_on", "hang_on", "freeze_on"}),
    "lite": frozenset(),
}
"""Options that say how fast, where or with how much memory an engine works, or script what fails. As with
`--max_model_len`, how long a prompt may be is none of the model's answers but to prompts that are too long."""


def answer_options(engine: EngineName, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that can change what an engine answers; one that nobody knows here is taken for one.

    Keys and tokens among the fields of a request change no answer, and no file keeps them.
    """
    known: dict[str, Any] = drop_secrets(options)
    return {name: value for name, value in known.items() if name not in HARMLESS[engine] and value not in ({}, "")}
