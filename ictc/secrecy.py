"""Keeps keys, tokens and passwords out of whatever people may read: messages, logs, journals, saved settings.

Other libraries put what they were given into their errors, and servers echo what they were sent. So text is cleaned
where it leaves the program, whoever wrote it: of the secrets that are known to be in use, and of what looks like one.
"""

from __future__ import annotations

import json
import logging
import os
import re
from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

MASK = "***"
MIN_SECRET_LENGTH = 8
"""Shorter ones, such as `none` and `ollama`, are no secrets but words that messages need."""
MIN_PASSWORD_LENGTH = 3
"""What stands as the password in an address is one, however short; a short one is masked where it is a word."""
MIN_CUT_LENGTH = 12
"""Servers show how a key begins: so many characters of its beginning are as secret as the whole."""
MIN_PLAIN_LENGTH = 12
"""A shorter secret of letters alone may be a word that a picture says."""

_known: set[str] = set()
"""Masked wherever they stand."""
_short: set[str] = set()
"""Masked where they are words of their own."""

# Every repetition before an alternative is bounded: what is scrubbed may be long, and hostile.
_SECRET_VARIABLE = re.compile(
    r"(^|[_-])(api[_-]?key|key|token|secret|password|passwd|credentials?|authorization)$", re.I
)
_SECRET_FIELD = re.compile(
    r"secret|passw|credential|authorization|cookie|(key([_-]?id)?|api[_-]?keys|token|passphrase|pwd|auth)$"
    r"|(^|[_-])(jwt|sas|sig|signature|bearer)$",
    re.I,
)
_MODEL_FIELD = re.compile(
    r"(^|[_-])(stop|eos|bos|pad|unk|sep|cls|mask|image|audio|video|start|end|begin|think|thinking|tool|special|banned"
    r"|cache|sort|partition|routing|idempotency)[_-]?(key|token)$",
    re.I,
)
"""Fields of a request that only sound like secrets."""
_HARMLESS_PARAMETER = re.compile(
    r"(api[_-]?)?version|v|model|deployment([_-]?(id|name))?|region|location|zone|project|engine|provider|format|timeout",
    re.I,
)
_USER = re.compile(r"(?<=://)(?:[^/?#:@\[]*:(?!\d{1,5}[/?#])(?:(?!://).)*|[^/?#]*)@", re.S)
"""Of an address that is known to be one: a password may hold any character, a port is none."""
_PARAMETER = re.compile(r"(?<=[?&;#])(?:(?!,\s*\w+://)[^&;#])+")
"""Of an address likewise, up to the next address."""
_PATTERNS = (
    (
        re.compile(
            r"(?<=://)(?:[^/?#:@\[\s'\"<>]*:(?!\d{1,5}[/?#])(?:(?!://)[^\s'\"<>])*|[^/\s'\"<>]+)@",
        ),
        f"{MASK}@",
    ),
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
    parts = [part for part in re.split(r"[\s;,]+", value) if part]
    values = (part.partition("=")[2] for part in parts)  # of a cookie
    for secret in (value.strip(), *parts, *values):
        if len(secret) >= MIN_SECRET_LENGTH:
            _known.update((secret, quote(secret, safe=""), secret.replace("/", "\\/")))


def keep_secrets_of_url(url: str) -> None:
    """Remember the user, password and parameters of the URL of a server, or of several."""
    for match in _USER.finditer(url):
        user, _, password = match[0][:-1].partition(":")
        for written in {password or user, *re.split("[/?#@]", password)}:
            _keep_password(written, is_word=bool(password))
        keep_secret(b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
    for match in _PARAMETER.finditer(url):
        name, equals, value = match[0].partition("=")
        if not _HARMLESS_PARAMETER.fullmatch(name):
            for written in {value, unquote(value), unquote_plus(value)} if equals else {name}:
                keep_secret(written)
            if equals and 0 < len(value) < MIN_SECRET_LENGTH and value != MASK:
                _short.add(match[0])


def _keep_password(written: str, *, is_word: bool) -> None:
    for password in {written, unquote(written)} - {MASK}:
        keep_secret(password)
        if is_word and MIN_PASSWORD_LENGTH <= len(password) < MIN_SECRET_LENGTH:
            _short.add(password)


def keep_secrets_in(value: Any, *, is_secret: bool = False) -> None:
    """Remember what stands in JSON under names that say that they hold a secret."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            keep_secrets_in(one, is_secret=is_secret or _is_secret(name, one))
    elif isinstance(value, list | tuple):
        for one in value:
            keep_secrets_in(one, is_secret=is_secret)
    elif isinstance(value, str) and is_secret:
        _keep_text(value)


def _keep_text(value: str) -> None:
    """Remember a secret, or those inside where it is a file of credentials in one string."""
    try:
        inside = json.loads(value)
    except (ValueError, RecursionError):
        inside = None
    if isinstance(inside, Mapping):
        keep_secrets_in(inside, is_secret=True)
    elif not value.startswith(("http://", "https://")):  # where to ask for a token
        keep_secret(value)


def scrub(text: str) -> str:
    """Return `text` with `MASK` in the place of every key, token and password."""
    for secret in sorted(_known | _secrets_of_environment(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _mask_beginnings(text, _known)
    for word in _short:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", MASK, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def scrub_line(text: str) -> str:
    """Return `text` on one line, scrubbed, for people."""
    return " ".join(scrub(text).split())


def _mask_beginnings(text: str, secrets: Collection[str]) -> str:
    """Mask what `secrets` begin with, as far as it goes."""
    for head in {secret[:MIN_CUT_LENGTH] for secret in secrets if len(secret) > MIN_CUT_LENGTH}:
        before, *parts = text.split(head)
        if parts:
            tails = [secret[MIN_CUT_LENGTH:] for secret in secrets if secret.startswith(head)]
            shown = [max(_num_common(part, tail) for tail in tails) for part in parts]
            text = before + "".join(MASK + part[length:] for part, length in zip(parts, shown, strict=True))
    return text


def _num_common(one: str, other: str) -> int:
    """Return with how many equal characters two texts begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def scrub_url(url: str) -> str:
    """Return the URL of a server, or several, as files and messages may show it."""
    return scrub(_PARAMETER.sub(_mask_parameter, _USER.sub(f"{MASK}@", url)))


def _mask_parameter(match: re.Match[str]) -> str:
    name, equals, _ = match[0].partition("=")
    if _HARMLESS_PARAMETER.fullmatch(name):
        return match[0]
    return f"{name}={MASK}" if equals else MASK


def scrub_answer(value: Any) -> Any:
    """Return JSON that a model wrote without the secrets that are in use; what merely looks like one is a picture's."""
    if isinstance(value, str):
        secrets = [secret for secret in _known if len(secret) >= MIN_PLAIN_LENGTH or not secret.isalpha()]
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, MASK)
        return _mask_beginnings(value, secrets)
    if isinstance(value, Mapping):
        return {name: scrub_answer(one) for name, one in value.items()}
    return [scrub_answer(one) for one in value] if isinstance(value, list | tuple) else value


def scrub_values(value: Any) -> Any:
    """Return JSON with every string scrubbed, and with nothing under a name that says that it holds a secret."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {name: MASK if _is_secret(name, one) else scrub_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_values(one) for one in value]
    return value


def find_masked(fields: Mapping[str, Any]) -> str | None:
    """Return the name of a field whose secret was left out of a file, None if there is none."""
    for name, value in fields.items():
        if _is_secret(name, value) and value == MASK:
            return name
        if isinstance(value, Mapping) and (inner := find_masked(value)) is not None:
            return f"{name}.{inner}"
    return None


def drop_secrets(value: Any) -> Any:
    """Return JSON without what stands under names that say that they hold a secret."""
    if isinstance(value, Mapping):
        return {name: drop_secrets(one) for name, one in value.items() if not _is_secret(name, one)}
    return [drop_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def _is_secret(name: object, value: Any) -> bool:
    """Whether a name says that it holds a secret, and it may: numbers are none, nor are lists of tokens."""
    may_be = isinstance(value, str | Mapping | list | tuple)
    if not may_be or _MODEL_FIELD.search(str(name)) or not _SECRET_FIELD.search(str(name)):
        return False
    return isinstance(value, str) or not str(name).lower().endswith("token")


class ScrubbingFormatter(logging.Formatter):
    """Formats as its base does, and scrubs what came of it, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return scrub(super().format(record))


def _secrets_of_environment() -> set[str]:
    """Return what the environment holds under names that say so, paths aside."""
    values = {value.strip() for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return {value for value in values if len(value) >= MIN_SECRET_LENGTH and not value.startswith(("/", "."))}
