"""Which of the addresses in a table may be read: tables come from strangers, and an address may name anything.

Web addresses may, where the downloader has its own guard; paths below the folder that the table's paths start from;
and whatever else the user named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Set
from functools import lru_cache
from pathlib import PurePosixPath

from ictc.dataset.fetching.data_uris import is_data_uri
from ictc.dataset.fetching.locations import is_http, is_url, scheme_of

FILE = "file"
"""Names every file of this machine."""

LOCAL_SCHEMES = frozenset((FILE, "local"))
"""Of URLs that lead to this machine; that a table starts from one does not open the rest."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class AddressRules:
    """What a table may name.

    Args:
        base: folder or URL that relative paths start from; its own scheme may be named.
        allowed: further schemes, such as "s3"; `FILE` lets paths lead anywhere.
    """

    def __init__(self, base: str, allowed: Set[str]) -> None:
        self._schemes = allowed | ({scheme_of(base)} - LOCAL_SCHEMES if is_url(base) else set())
        self._is_local = not is_url(base)
        self._base = base
        self._root = os.path.realpath(base) if self._is_local else ""
        self._real_folder = lru_cache(2**16)(os.path.realpath)

    def find_problem(self, address: str) -> str | None:
        """Return why an image must not be read, None if it may."""
        if "\0" in address:
            return "holds a null character, which no path or address can; correct it"
        if is_data_uri(address) or is_http(address):
            return None
        if is_url(address):
            return self._problem_of_url(address)
        if _DRIVE.match(address):
            return f"{address[:2]} is a drive of Windows; make the paths of the table relative, and give --ads_dir"
        return None if FILE in self._schemes and self._is_local else self._problem_of_path(address)

    def _problem_of_url(self, address: str) -> str | None:
        scheme = scheme_of(address)
        if scheme not in self._schemes:
            return f"{scheme[:20]}:// is not read from a table unless --allow_schemes names it"
        if "::" in address:
            return "chained addresses are not supported"
        return None

    def _problem_of_path(self, path: str) -> str | None:
        if self._is_local:
            leads_out = not self._is_below(os.path.join(self._base, path))  # noqa: PTH118 - a table may have millions
        else:
            leads_out = ".." in PurePosixPath(path).parts
        where = "--ads_dir, or the folder of the table"
        return f"leads out of {where}; --allow_schemes file permits that" if leads_out else None

    def _is_below(self, path: str) -> bool:
        """Whether a path stays in the folder of the table, links followed; it need not exist."""
        folder, name = os.path.split(path)
        real = os.path.join(self._real_folder(folder), name)  # noqa: PTH118
        if name in ("", ".", "..") or os.path.islink(real):  # noqa: PTH114
            real = os.path.realpath(real)
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")
