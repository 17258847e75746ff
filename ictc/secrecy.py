"""Keeps keys, tokens and passwords out of whatever people may read: messages, logs, journals, saved settings.

Other libraries put what they were given into their errors, and servers echo what they were sent. So text is cleaned
where it leaves the program, whoever wrote it: of the secrets that are known to be in use, and of what looks like one.
"""

from __future__ import annotations

import logging
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MASK = "***"
MIN_SECRET_LENGTH = 8
"""Shorter ones, such as `none` and `ollama`, are no secrets but words that messages need."""

_known: set[str] = set()

# Every repetition before an alternative is bounded: what is scrubbed may be long, and hostile.
_SECRET_VARIABLE = re.compile(
    r"(^|[_-])(api[_-]?key|key|token|secret|password|passwd|credentials?|authorization)$", re.I
)
_SECRET_FIELD = re.compile(
    r"^(x[_-])?((api|access|auth|secret|private|bearer|hf)[_-]?)?(key|token|secret|password|passwd|authorization)$",
    re.I,
)
"""Narrower: a request has fields such as `stop_token`."""
_PATTERNS = (
    (re.compile(r"(?<=://)[^/\s'\"<>]+@"), f"{MASK}@"),
    (
        re.compile(
            r"([?&;](?:[\w-]{0,40}(?:key|token|secret|password|passwd|signature|credential|auth)[\w-]{0,40}|sig|pwd)=)"
            r"[^&#\s'\"<>]+",
            re.I,
        ),
        rf"\1{MASK}",
    ),
    # With a digit, or long: "Bearer authentication" is no token.
    (re.compile(r"\b(bearer|basic)(\s+)(?=\S{0,200}\d|\S{20})[\w.~+/=:-]{6,}", re.I), rf"\1\2{MASK}"),
    (re.compile(r"\b(?:sk|gsk|hf|xai|nvapi|pplx|r8)[-_](?=[\w-]{0,200}\d)[\w-]{12,}|\bAIza[\w-]{30,}"), MASK),
    (
        re.compile(
            r"((?:api[-_]?key|authorization|access[-_]?token|secret|password)[\"']?\s*[:=]\s*[\"']?)"
            r"(?=[^\s\"',;}]{0,200}\d)[^\s\"',;}]{8,}",
            re.I,
        ),
        rf"\1{MASK}",
    ),
)


def keep_secret(value: str) -> None:
    """Remember a key, token or password, so that `scrub` knows it in whatever form a library writes it."""
    for part in (value, *value.split()):
        if len(part.strip()) >= MIN_SECRET_LENGTH:
            _known.update((part.strip(), quote(part.strip(), safe="")))


def keep_secrets_of_url(url: str) -> None:
    """Remember the user and password of a URL."""
    try:
        address = urlsplit(url)
    except ValueError:
        return
    if address.password:
        keep_secret(address.password)
        keep_secret(unquote(address.password))
        pair = f"{unquote(address.username or '')}:{unquote(address.password)}"
        keep_secret(b64encode(pair.encode()).decode())


def scrub(text: str) -> str:
    """Return `text` with `MASK` in the place of every key, token and password."""
    for secret in sorted(_known | _secrets_of_environment(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def scrub_values(value: Any) -> Any:
    """Return JSON with every string scrubbed, and with nothing under a name that says that it holds a secret."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {name: MASK if _is_secret(name, one) else scrub_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_values(one) for one in value]
    return value


def drop_secrets(value: Any) -> Any:
    """Return JSON without what stands under names that say that they hold a secret."""
    if isinstance(value, Mapping):
        return {name: drop_secrets(one) for name, one in value.items() if not _is_secret(name, one)}
    return [drop_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def _is_secret(name: object, value: Any) -> bool:
    return isinstance(value, str) and _SECRET_FIELD.search(str(name)) is not None


class ScrubbingFormatter(logging.Formatter):
    """Formats as its base does, and scrubs what came of it, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return scrub(super().format(record))


def _secrets_of_environment() -> set[str]:
    """Return what the environment holds under names that say so, paths aside."""
    values = {value.strip() for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return {value for value in values if len(value) >= MIN_SECRET_LENGTH and not value.startswith(("/", "."))}
