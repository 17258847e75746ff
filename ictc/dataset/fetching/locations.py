"""What an image's location looks like as text: a path, an http address or the URL of an object.

Knows the text only; who reads it is `ictc.dataset.fetching.files`.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote_plus, urlsplit

from ictc.dataset.fetching.data_uris import is_data_uri

TAR_SUFFIX = ".tar"
"""Of WebDataset shards; a compressed tar cannot be read at random."""

_SECRET_NAME = re.compile(
    r"(^|[-_])(sig|signature|token|secret|password|pwd|credential|key|auth|authorization)$"
    r"|(access|api|auth|secret|session)(token|key)",
    re.IGNORECASE,
)
"""Query parameters that let their holder in: signatures of presigned URLs, API keys, tokens."""

_HIDDEN = "***"


def is_url(location: object) -> bool:
    """Whether a location names its protocol, such as `s3://bucket/ad.jpg`, and is no file of this machine."""
    text = str(location)
    return "://" in text or is_data_uri(text)


def scheme_of(url: str) -> str:
    """Return the protocol that a URL names, in lower case."""
    return url.partition("://")[0].lower()


def is_http(location: str) -> bool:
    """Whether a location is a web address."""
    return location[:8].lower().startswith(("http://", "https://"))


def join(base: str, path: str) -> str:
    """Return the location of `path` below `base`."""
    return f"{base.rstrip('/')}/{path}"


def parent(location: str) -> str:
    """Return the location of the folder that a file lies in."""
    folder, slash, _ = location.rpartition("/")
    return folder or slash or "."


def shard_of(path: str) -> str:
    """Return the tar shard that an image's path starts with; the path itself if it is one."""
    end = path.lower().find(f"{TAR_SUFFIX}/")
    return path if end < 0 else path[: end + len(TAR_SUFFIX)]


def hide_secrets(location: str) -> str:
    """Return a location as logs and results may show it: without user, password and values of secret parameters."""
    if "://" not in location or ("@" not in location and "?" not in location):
        return location
    try:
        parts = urlsplit(location)
        shown = _without_user(parts)._replace(query=_hide_in_query(parts.query))
        return location if shown == parts else shown.geturl()
    except ValueError:  # no valid address: say no more than its protocol
        return f"{location.partition('://')[0]}://{_HIDDEN}"


def _without_user(parts: SplitResult) -> SplitResult:
    user, _, host = parts.netloc.rpartition("@")
    # `abfs://container@account` names a container; a user of the web is always somebody's.
    has_secret = ":" in user or (user and is_http(f"{parts.scheme}://"))
    return parts._replace(netloc=host) if has_secret else parts


def _hide_in_query(query: str) -> str:
    return "&".join(map(_hide_in_parameter, query.split("&")))


def _hide_in_parameter(parameter: str) -> str:
    """Return a parameter as it is, to the byte, unless its value is secret."""
    name = parameter.partition("=")[0]
    return f"{name}={_HIDDEN}" if _SECRET_NAME.search(unquote_plus(name)) else parameter
