"""Which addresses are public: by IANA's registries, whatever they are written inside of."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.dataset.fetching.addresses import is_public

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.255.0.1 100.64.0.1 100.127.255.255 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
"""
NOT_PUBLIC_V6 = """
:: ::1 ::7f00:1 ::10.0.0.1 ::93.184.215.14 ::ffff:0:10.0.0.1 ::ffff:0:93.184.215.14 ::ffff:127.0.0.1 64:ff9b::10.0.0.1
64:ff9b:1::1 64:ff9b:1::5db8:d70e 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1
2001:db8::1 2002:7f00:1:: 2002:a00:1:: 3fff::1 3ffe:0:0:1:0:5efe:a00:1 2606:2800::200:5efe:127.0.0.1 5f00::1
fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 4000::1
"""
PUBLIC = """
1.1.1.1 93.184.215.14 100.63.255.255 100.128.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1 223.255.255.255
2606:2800:21f:cb07:6820:80da:af6b:8b2c 2001:4860:4860::8888 2a00:1450:4001::1 ::ffff:93.184.215.14
64:ff9b::93.184.215.14 2002:5db8:d70e::1 2606:2800::5efe:93.184.215.14
"""


@pytest.mark.parametrize("address", [*NOT_PUBLIC.split(), *NOT_PUBLIC_V6.split()])
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is(address: str) -> None:
    assert is_public(address)


@given(st.sampled_from(NOT_PUBLIC.split()).map(IPv4Address), st.integers(0, 2**80 - 1))
def test_no_way_of_writing_makes_an_address_public(inner: IPv4Address, rest: int) -> None:
    number = int(inner)
    forms = [0xFFFF << 32 | number, number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | rest]
    forms += [0x2606 << 112 | (rest & (2**48 - 1)) << 64 | 0x5EFE << 32 | number]
    assert not [IPv6Address(form) for form in forms if is_public(str(IPv6Address(form)))]


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_as_public_as_it_is_alone(address: IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address)) == is_public(f"64:ff9b::{address}")


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_as_private(address: IPv4Address | IPv6Address) -> None:
    assert ip_address(str(address)).is_global or not is_public(str(address))
