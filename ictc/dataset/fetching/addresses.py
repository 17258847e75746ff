"""Which network addresses are public, and sockets that connect to no other.

Goes by IANA's registries of special-purpose addresses (RFC 6890), not by what a version of Python takes for global.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # between providers and their customers
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # the host of a virtual machine at Azure
            "169.254.0.0/16",  # link-local; where clouds keep credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved; broadcast
        ),
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is public of IPv6, but for what follows. Not in here: unspecified, loopback, unique local, link- and
site-local, multicast, IPv4-compatible, IPv4-translated, and NAT64 prefixes of a network's own."""

_NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = 0x00005EFE
_UNIVERSAL_BIT = 0x02000000


class PrivateAddressError(OSError):
    """A connection to an address that is not public was refused, before anything was sent."""


def is_public(address: str) -> bool:
    """Whether a numeric address belongs to the public internet, also where it stands inside an IPv6 one."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC)
    inner = _embedded(parsed)
    if inner is not None and not is_public(str(inner)):
        return False
    if parsed.ipv4_mapped or parsed in _NAT64:  # leads to the inner one, and nowhere else
        return True
    return parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _NOT_PUBLIC_V6)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, None if it leads to none."""
    is_isatap = int(address) >> 32 & 0xFFFFFFFF & ~_UNIVERSAL_BIT == _ISATAP
    if address in _NAT64 or is_isatap:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


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
