"""Which addresses are of the public internet."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.download.addresses import PrivateAddressError, is_public, socket_maker

PRIVATE = [
    "127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1",
    "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1",
    "192.0.2.1", "203.0.113.5",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::10.0.0.1", "2002:7f00:1::",
    "2002:a00:1::1", "not an address", "",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "77.88.55.242", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111",
    "2a02:6b8::2:242", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_every_way_to_carry_an_address_is_judged_by_it(address: ipaddress.IPv4Address) -> None:
    public = is_public(str(address))
    number = int(address)
    assert is_public(f"::ffff:{address}") == public
    for carrier in (0x64FF9B << 96, 0):
        carried = ipaddress.IPv6Address(carrier | number)
        assert is_public(str(carried)) == public or number < 2
    six = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))
    if not public:
        assert not is_public(str(six))


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_whole_private_networks(address: ipaddress.IPv4Address) -> None:
    assert not is_public(str(address))


def test_no_socket_is_made_for_a_private_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))
    with pytest.raises(PrivateAddressError, match=r"10\.0\.0\.1"):
        socket_maker(False)(info)
    made = socket_maker(True)(info)
    assert made.getblocking() is False
    made.close()
