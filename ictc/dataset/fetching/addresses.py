"""Which network addresses are public, and sockets that connect to no other."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A connection to an address that is not public was refused, before anything was sent."""


def is_public(address: str) -> bool:
    """Whether a numeric address belongs to the public internet, also where it stands inside an IPv6 one."""
    parsed = ip_address(address.partition("%")[0])
    inner = _embedded(parsed) if isinstance(parsed, IPv6Address) else None
    return parsed.is_global and not parsed.is_multicast and (inner is None or is_public(str(inner)))


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, None if it leads to none."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def open_public_socket(address_info: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address that is about to be connected to.

    Called with the very address of the connection: what a name meant when it was looked up before does not matter.

    Raises:
        PrivateAddressError: the address is not public.
    """
    family, kind, protocol, _, (host, *_) = address_info
    if not is_public(host):
        raise PrivateAddressError("its address is private; --allow_private_addresses permits that")
    return socket.socket(family, kind, protocol)
