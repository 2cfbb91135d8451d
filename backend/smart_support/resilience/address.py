"""Which addresses may be called: public ones, and those that the operator names.

Python's `is_global` is not enough: it calls `::127.0.0.1`, `64:ff9b::7f00:1` (NAT64) and
`2002:7f00:1::` (6to4) global, and getaddrinfo turns `2130706433`, `0x7f000001` and `127.1` into
loopback. So a name is resolved first, every address found is checked, and the connection goes to
the address that was checked.

Sources: OWASP "Server-Side Request Forgery Prevention"; IANA "IPv4/IPv6 Special-Purpose Address
Registry"; WHATWG URL, "ends in a number".
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self

import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, best first. Raises OSError as getaddrinfo does."""

_NUMBER = re.compile(r"(\d+|0[xX][0-9a-fA-F]*)\Z")
_PLAIN_V4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}\Z")

_UNICAST = ip_network("2000::/3")
_SPECIAL: tuple[Network, ...] = tuple(
    ip_network(each)
    for each in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_PRIVATE: tuple[Network, ...] = tuple(
    ip_network(each)
    for each in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
# Where a form that carries an IPv4 address has it: how many bits stand to its right.
_CARRIERS: tuple[tuple[Network, int], ...] = (
    (ip_network("::/96"), 0),
    (ip_network("::ffff:0:0/96"), 0),
    (ip_network("::ffff:0:0:0/96"), 0),
    (ip_network("64:ff9b::/96"), 0),
    (ip_network("2002::/16"), 80),
)


class ForbiddenAddress(httpx.ConnectError):
    """The policy does not allow to connect there; nothing was sent."""


class UnknownHost(httpx.ConnectError):
    """There is no such name, as far as its name servers say."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system, off the event loop."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be called besides public addresses.

    Attributes:
        hosts: names that may stand for private addresses.
        networks: addresses that may be called whatever they are.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """From names, addresses and networks, such as `orders.internal` and `10.1.0.0/16`.

        Raises:
            ValueError: an entry is none of these.
        """
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (each.strip() for each in entries)):
            name = entry.strip("[]").lower()
            try:
                networks.append(ip_network(name))
            except ValueError:
                if "/" in name or ":" in name or _is_number(name):
                    raise ValueError(f"no host, address or network: {entry!r}") from None
                hosts.add(name)
        return cls(frozenset(hosts), tuple(networks))

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Return if each of `addresses`, which `host` stands for, may be called.

        One that may not is enough to refuse: who controls a name can mix them.

        Raises:
            ForbiddenAddress: one may not.
        """
        named = host.lower() in self.hosts
        for each in addresses:
            address = ip_address(each)
            if not (self._listed(address) or _public(address) or (named and _within(address))):
                raise ForbiddenAddress(f"{host} is {each}, which may not be called")

    def _listed(self, address: Address) -> bool:
        if not any(address in network for network in self.networks):
            return False
        carried = _carried(address)
        return carried is None or self._listed(carried) or _public(carried)


def literal(host: str) -> Address | None:
    """The address that `host` is; None if it is a name.

    Raises:
        ForbiddenAddress: it is a number that is read as an address (`2130706433`, `0x7f.1`,
            `127.1`, `010.0.0.1`), or an address with a zone.
    """
    plain = host.removesuffix(".")
    if ":" not in plain and not _is_number(plain):
        return None
    try:
        if "%" in host or (":" not in host and not _PLAIN_V4.match(host)):
            raise ValueError(host)
        return ip_address(host)  # refuses leading zeros
    except ValueError:
        raise ForbiddenAddress(f"{host!r} is not written as an address is") from None


async def addresses_of(
    host: str, port: int, policy: AddressPolicy, resolver: Resolve = resolve
) -> Sequence[str]:
    """The checked addresses of `host`, to connect to instead of it.

    Raises:
        ForbiddenAddress: one of them may not be called.
        UnknownHost: there is no such name.
        httpx.ConnectError: the name cannot be resolved now.
    """
    address = literal(host)
    if address is not None:
        found: Sequence[str] = (str(address),)
    elif host.removesuffix(".").lower().endswith(".invalid"):
        raise UnknownHost(f"{host} exists nowhere")  # RFC 6761, 6.4
    else:
        try:
            found = await resolver(host, port)
        except (OSError, UnicodeError) as error:
            unknown = isinstance(error, UnicodeError) or error.errno == socket.EAI_NONAME
            raise (UnknownHost if unknown else httpx.ConnectError)(f"{host}: {error}") from error
    if not found:
        raise UnknownHost(f"{host} has no address")
    policy.check(host, found)
    return found


def _is_number(host: str) -> bool:
    return _NUMBER.match(host.rpartition(".")[2]) is not None


def _public(address: Address) -> bool:
    if address.version == 6 and address not in _UNICAST:
        return False
    special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not special


def _within(address: Address) -> bool:
    return any(address in network for network in _PRIVATE)


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address inside of an IPv6 one. `::1` and `::` carry none."""
    if int(address) > 1:
        for network, shift in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None
