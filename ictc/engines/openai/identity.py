"""What servers say of a model beside its name: another one under the same name is noticed before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import blake2b
from json import dumps, loads
from typing import Any

from ictc.config import ModelSpec
from ictc.engines.openai.connecting import read_api_key, split_url
from ictc.engines.openai.models import find_entry
from ictc.engines.openai.options import parse_options
from ictc.errors import ConfigError

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0

LASTING = ("root", "parent", "revision", "digest", "sha256", "quantization", "checkpoint")
"""What stays as it is while a server restarts with the same model; when it was started (`created`) does not."""
LASTING_META = ("vocab_type", "n_vocab", "n_embd", "n_params", "size", "ftype")
"""The same among what llama.cpp says; its context is a setting."""


def identify_served_model(spec: ModelSpec) -> str | None:
    """Return what the servers say of `spec.model`, as a digest; None if they say nothing of it, or one is not there."""
    said = [_ask(url, spec) for url in spec.base_urls]
    if not said or None in said:
        return None
    different = sorted({dumps(one, sort_keys=True) for one in said})
    return blake2b("\n".join(different).encode(), digest_size=16).hexdigest()


def _ask(url: str, spec: ModelSpec) -> Mapping[str, Any] | None:
    """Return what lasts of what a server says; whatever goes wrong is told when the engine loads."""
    try:
        from openai import OpenAI, OpenAIError
    except ImportError:
        return None
    try:
        address, query = split_url(url)
        key = read_api_key(parse_options(spec.options).api_key_env)
        with OpenAI(base_url=address, default_query=query, api_key=key, timeout=TIMEOUT_S, max_retries=0) as client:
            listing: Any = client.get("/models", cast_to=object)
        entry = find_entry(loads(listing) if isinstance(listing, str) else listing, spec.model)
    except (OpenAIError, ConfigError, ValueError, RecursionError) as error:
        logger.debug("what %s serves is not known: %s", spec.model, type(error).__name__)
        return None
    return _lasting(entry)


def _lasting(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    meta = entry.get("meta")
    lasting = {name: entry[name] for name in LASTING if entry.get(name) is not None}
    lasting |= {name: meta[name] for name in LASTING_META if name in meta} if isinstance(meta, Mapping) else {}
    return lasting or None
