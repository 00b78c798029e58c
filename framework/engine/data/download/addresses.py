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
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[Any, Any, int, str, Any]

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_V4_COMPATIBLE = IPv6Network("::/96")
_RESOLVERS = 32


NOT_PUBLIC = "is no public address"
"""By these words of an error it is known again: aiohttp joins several errors into a text."""


class PrivateAddressError(OSError):
    """An address that is not of the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} {NOT_PUBLIC}")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    Addresses that carry another inside (IPv4-mapped, 6to4, Teredo, NAT64) are judged by both.
    """
    try:
        ip = ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    return _is_public(ip)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not ip.is_reserved
    inside: list[IPv4Address] = []
    if ip.ipv4_mapped is not None:
        return _is_public(ip.ipv4_mapped)
    if ip.sixtofour is not None:
        inside.append(ip.sixtofour)
    if ip.teredo is not None:
        inside.extend(ip.teredo)
    if any(ip in network for network in (*_NAT64, _V4_COMPATIBLE)):
        inside.append(IPv4Address(int(ip) & 0xFFFFFFFF))
        # NAT64 itself is a translator's prefix: what counts is where it leads.
        return not ip.is_unspecified and not ip.is_loopback and all(map(_is_public, inside))
    public = ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_site_local)
    return public and all(map(_is_public, inside))


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
