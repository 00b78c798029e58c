"""Which addresses a download may connect to.

The check stands where the socket is made, on the very address it connects to: names, redirects
and names that change their answer between check and use all pass through it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[Any, Any, int, str, Any]

_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by the customers of a provider
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4, which are no more
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
"""All that is handed out for use on the internet; loopback, unique local, link-local, multicast,
discard-only, segment routing and the translation prefix for local use lie outside."""

_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
"""The IANA registries of special-purpose addresses, but for what they call globally reachable
outside of the protocol assignments (https://www.iana.org/assignments/iana-ipv4-special-registry/,
https://www.iana.org/assignments/iana-ipv6-special-registry/). Python's own table changes with its
version and holds less."""

_V4_IN_V6 = (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Prefixes that are followed by an IPv4 address, which says where they lead: the old compatible and
the mapped addresses, and NAT64."""

_ISATAP = 0x5EFE
_RESOLVERS = 32


NOT_PUBLIC = "is not a public address"
"""These words mark the error: aiohttp joins the errors of several addresses into one text."""


class PrivateAddressError(OSError):
    """An address that is not of the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} {NOT_PUBLIC}")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    Addresses that carry an IPv4 address (mapped, compatible, NAT64, 6to4, ISATAP) are evaluated by
    that one too.
    """
    try:
        ip = ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    return _is_public_v4(ip) if isinstance(ip, IPv4Address) else _is_public_v6(ip)


def _is_public_v4(ip: IPv4Address) -> bool:
    return not any(ip in network for network in _SPECIAL_V4)


def _is_public_v6(ip: IPv6Address) -> bool:
    number = int(ip)
    last = IPv4Address(number & 0xFFFFFFFF)
    if any(ip in network for network in _V4_IN_V6):
        return _is_public_v4(last)
    if ip not in _UNICAST_V6 or any(ip in network for network in _SPECIAL_V6):
        return False
    if ip.sixtofour is not None and not _is_public_v4(ip.sixtofour):
        return False
    isatap = number >> 32 & 0xFDFFFFFF == _ISATAP
    return not isatap or _is_public_v4(last)


def socket_maker(allow_private: bool) -> Callable[[AddressInfo], socket.socket]:
    """What makes the sockets of a connector; refuses addresses that are not public."""

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allow_private and not is_public(str(address[0])):
            raise PrivateAddressError(str(address[0]))
        found = socket.socket(family, kind, protocol)
        found.setblocking(False)
        return found

    return make


class Resolver(AbstractResolver):
    """The system's names, asked for by threads of its own: a slow name holds up no file."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every address of a name.

        Raises:
            OSError: there is none.
        """
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._threads, _look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Let the threads go; one that still waits for a name ends with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[AddressInfo]:
    try:
        return socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
    except UnicodeError as error:  # an empty or overlong label
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
