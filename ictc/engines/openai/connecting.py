"""Connects to servers and checks them before the first request: the key, the address, and what they serve."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import time
from json import loads
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from ictc.config import ModelSpec
from ictc.engines.openai.failures import (
    NO_STATUS,
    Failure,
    Meaning,
    failure_of_exception,
    failure_of_response,
    meaning_of,
)
from ictc.engines.openai.gate import FIRST_WAIT_S, MAX_WAIT_S, Gate
from ictc.engines.openai.models import ModelList, parse_models
from ictc.engines.openai.options import OpenAIOptions
from ictc.engines.openai.server import Patience, Server, is_of_connecting
from ictc.errors import ConfigError, EngineLoadError
from ictc.secrecy import MASK, keep_secret, keep_secrets_of_url, scrub, scrub_url

logger = logging.getLogger(__name__)

NO_API_KEY = "none"
"""The client library insists on a key; local servers ignore it."""
HEADER_VARIABLES = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
HEALTH_TIMEOUT_S = 10.0
MAX_LISTED = 10
"""Most models that a message names: those whose names are nearest."""
UNLISTED_STATUSES = (403, 404, 405, 410, 501)
"""With these a server doesn't list its models, and may serve them all the same."""

_reached: set[str] = set()
"""Servers that have answered this process: if one of them can't be reached now, it is restarting."""


def connect(url: str, *, model: str, options: OpenAIOptions) -> Server:
    """Return a server that nothing was asked of yet.

    Raises:
        ConfigError: the URL or the key cannot be used.
        EngineLoadError: a package is missing.
    """
    try:
        import jsonschema  # noqa: F401  (checks answers later; its absence must not end a run)
        from openai import AsyncOpenAI, Timeout
    except ImportError as error:
        raise EngineLoadError(f"--engine openai needs {error.name}: pip install 'ictc[openai]'") from None
    address, query = split_url(url)
    _check_headers()
    client = AsyncOpenAI(
        base_url=address,
        default_query=query,
        api_key=read_api_key(options.api_key_env),
        timeout=Timeout(options.timeout_s, connect=min(options.timeout_s, HEALTH_TIMEOUT_S)),
        max_retries=0,  # what a failure means is ours to say
    )
    patience = Patience(pause_s=options.max_pause_s, outage_s=options.max_outage_s)
    return Server(name=scrub_url(url), model=model, client=client, gate=Gate(options.window), patience=patience)


def read_api_key(variable: str) -> str:
    """Return the key that an environment variable holds; white space around it is no part of it.

    Raises:
        ConfigError: no header can carry it.
    """
    key = os.environ.get(variable, "").strip().strip("\ufeff")
    keep_secret(key)
    if any(not "!" <= character <= "~" for character in key):
        raise ConfigError(
            f"the API key in {variable} has white space, quotation marks or letters inside that no request can carry: "
            "set it again"
        )
    return key or NO_API_KEY


def _check_headers() -> None:
    """Raises ConfigError if a variable that the client library makes headers of holds what none can carry."""
    for variable in HEADER_VARIABLES:
        if any(not " " <= character <= "~" for character in "".join(os.environ.get(variable, "").split())):
            raise ConfigError(
                f"the environment variable {variable} has letters that no request can carry: set it again"
            )


def split_url(url: str) -> tuple[str, dict[str, object]]:
    """Return the address, and the query that goes with every request to it.

    Raises:
        ConfigError: it is no address of a web server, or its password was left out of a file.
    """
    keep_secrets_of_url(url)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no number
    except ValueError as error:
        raise ConfigError(f"--base_url {scrub_url(url)} is no address of a server: {scrub(str(error))}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--base_url {scrub_url(url)} is no address of a server; one is http://localhost:8000/v1")
    if MASK in url:
        raise ConfigError(
            f"--base_url {scrub_url(url)}: no file of a run keeps a password, so give the run's own command again, or "
            "keep the key in an environment variable (api_key_env)"
        )
    return urlunsplit(parts._replace(query="", fragment="")), dict(parse_qsl(parts.query))


async def check_server(server: Server, spec: ModelSpec, options: OpenAIOptions) -> None:
    """Check that a server is there and serves `spec.model`; one that isn't ready yet is waited for.

    Raises:
        EngineLoadError: it is not, or does not.
    """
    try:
        listing = await _wait_for_models(server, options)
    except (ValueError, RecursionError) as error:
        raise EngineLoadError(
            f"{server.name} does not speak the OpenAI protocol ({scrub(str(error))}): correct --base_url"
        ) from None
    if isinstance(listing, Failure):
        _judge_failure(server, listing, spec, options)
        return
    _reached.add(server.name)
    _check_model(server, listing, spec)


async def _wait_for_models(server: Server, options: OpenAIOptions) -> ModelList | Failure:
    began, wait_s = time.monotonic(), FIRST_WAIT_S
    while isinstance(listing := await _list_models(server), Failure) and _is_waited_for(listing, server):
        next_wait_s = listing.retry_after_s or wait_s
        patience_s = server.patience.with_(meaning_of(listing))
        if time.monotonic() + next_wait_s - began > patience_s:
            break
        if wait_s == FIRST_WAIT_S:
            logger.warning(
                "%s is not ready (%s): waiting for it, %.0f s at most", server.name, listing.text, patience_s
            )
        await asyncio.sleep(next_wait_s)
        wait_s = min(2 * wait_s, MAX_WAIT_S)
    return listing


def _is_waited_for(failure: Failure, server: Server) -> bool:
    """Whether a server will be there soon; one that nobody listens for may be a mistake in its address."""
    if failure.status == NO_STATUS:
        return server.name in _reached
    return failure.status not in UNLISTED_STATUSES and meaning_of(failure) in (Meaning.PAUSED, Meaning.DOWN)


async def _list_models(server: Server) -> ModelList | Failure:
    """Raises ValueError if what comes is no JSON."""
    from httpx import Response
    from openai import APIConnectionError, APIStatusError

    client = server.client.with_options(timeout=HEALTH_TIMEOUT_S)
    try:
        response = await client.get("/models", cast_to=Response)
    except APIStatusError as error:
        return failure_of_response(error.response.status_code, error.response.headers, error.response.text)
    except APIConnectionError as error:
        return failure_of_exception(error, is_sent=not is_of_connecting(error))
    return parse_models(loads(response.content))


def _judge_failure(server: Server, failure: Failure, spec: ModelSpec, options: OpenAIOptions) -> None:
    """Go on without a list of models, where that can be. Raises EngineLoadError where it can't."""
    if failure.status == NO_STATUS and (proxy := find_proxy(str(server.client.base_url))):
        raise EngineLoadError(
            f"cannot reach {server.name} through the proxy {proxy} ({failure.text}): correct HTTP_PROXY, HTTPS_PROXY "
            "or ALL_PROXY, or name the server in NO_PROXY"
        )
    if failure.status == NO_STATUS:
        raise EngineLoadError(f"cannot reach {server.name} ({failure.text}): start it, or correct --base_url")
    if failure.status == 401 or (failure.status == 402 and meaning_of(failure) is Meaning.ACCOUNT):
        raise EngineLoadError(f"{server.name} refuses the API key ({failure.text}): set {options.api_key_env}")
    if failure.status not in UNLISTED_STATUSES:
        raise EngineLoadError(f"{server.name} is not ready ({failure.text}): wait for it, or restart it")
    logger.warning("%s does not list its models; not checked that it serves %s", server.name, spec.model)


def find_proxy(url: str) -> str | None:
    """Return the proxy through which the environment has `url` reached, without what is secret in it."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    keep_secrets_of_url(proxy)
    return scrub(proxy)


def _check_model(server: Server, listing: ModelList, spec: ModelSpec) -> None:
    """Raises EngineLoadError if a server says that it does not serve the model, or that the model has no eyes."""
    flag = "--vlm_model" if spec.vision else "--llm_model"
    name = listing.find(spec.model)
    if name is None and listing.is_whole:
        near = list(listing.reads_images)
        if len(near) > MAX_LISTED:
            near = difflib.get_close_matches(spec.model, near, n=MAX_LISTED, cutoff=0.0)
        raise EngineLoadError(
            f"{server.name} does not serve {spec.model!r} but {scrub(', '.join(near))}: correct {flag} or --base_url"
        )
    if name is None:
        logger.warning("%s does not list %s; not checked that it serves it", server.name, spec.model)
    elif spec.vision and listing.reads_images[name] is False:
        raise EngineLoadError(
            f"{server.name} reads no images with {spec.model!r}, as it says itself: give a vision-language model as "
            "--vlm_model (llama.cpp: start the server with the model's --mmproj)"
        )
