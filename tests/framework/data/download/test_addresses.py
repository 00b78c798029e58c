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
    # Every network of the IANA registries that is not globally reachable, at both ends.
    "0.255.255.255", "10.255.255.255", "100.127.255.255", "169.254.0.0", "192.0.0.0", "192.0.0.8",
    "192.0.0.9", "192.0.0.170", "192.0.0.255", "192.0.2.255", "192.88.99.0", "192.88.99.1",
    "192.88.99.255", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.0",
    "198.51.100.255", "203.0.113.255", "240.0.0.0", "255.255.255.254",
    "::ffff:192.88.99.1", "64:ff9b::192.88.99.1", "64:ff9b::", "64:ff9b:0:1::1", "64:ff9b:1::",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::8.8.8.8", "::ffff:0:8.8.8.8",
    "100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::1", "2001::1", "2001:0:808:808::1",
    "2001::ffff:8.8.8.8", "2001:1::1", "2001:2::1", "2001:3::1", "2001:10::1", "2001:20::1",
    "2001:1ff:ffff::1", "2001:db8:ffff::1", "2002:c058:6301::1", "2002:a9fe:a9fe::", "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "5f00::", "5f00::1", "5fff::1", "fdff::1", "febf::1",
    "ff00::1", "ff0e::1", "4000::1", "200::1", "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "77.88.55.242", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111",
    "2a02:6b8::2:242", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "128.0.0.1", "169.253.255.255",
    "172.15.255.255", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255",
    "203.0.114.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2001:db9::1",
    "2003::1", "3ffe::1", "3fff:1000::1", "2000::1", "2606:4700::5efe:8.8.8.8",
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
