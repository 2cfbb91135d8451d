import ipaddress
import socket

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.resilience.address import (
    AddressPolicy,
    ForbiddenAddress,
    UnknownHost,
    addresses_of,
    literal,
    resolve,
)

NOBODY = AddressPolicy()

FORBIDDEN = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1",
    "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public_may_not_be_called(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        NOBODY.check("shop.test", [address])


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may(address: str) -> None:
    NOBODY.check("shop.test", [address])


def test_one_forbidden_address_is_enough() -> None:
    with pytest.raises(ForbiddenAddress):
        NOBODY.check("shop.test", ["8.8.8.8", "10.0.0.1"])


@pytest.mark.parametrize(
    ("entries", "host", "address", "allowed"),
    [
        (["127.0.0.1"], "x", "127.0.0.1", True),
        (["127.0.0.1"], "x", "127.0.0.2", False),
        (["127.0.0.1"], "x", "::ffff:127.0.0.1", False),
        (["10.1.0.0/16"], "x", "10.1.2.3", True),
        (["10.1.0.0/16"], "x", "10.2.0.1", False),
        (["[::1]"], "x", "::1", True),
        (["fd00::/8"], "x", "fd00::5", True),
        (["orders.internal"], "orders.internal", "10.0.0.1", True),
        (["orders.internal"], "ORDERS.internal", "fd00::1", True),
        (["orders.internal"], "other.internal", "10.0.0.1", False),
        # A name stands for a private host, never for a machine's own metadata.
        (["orders.internal"], "orders.internal", "169.254.169.254", False),
        (["orders.internal"], "orders.internal", "224.0.0.1", False),
        # NAT64, if it is named, for what may be called without it.
        (["64:ff9b::/96"], "x", "64:ff9b::808:808", True),
        (["64:ff9b::/96"], "x", "64:ff9b::7f00:1", False),
        (["64:ff9b::/96", "127.0.0.0/8"], "x", "64:ff9b::7f00:1", True),
    ],
)
def test_the_operator_names_what_else_may_be_called(
    entries: list[str], host: str, address: str, allowed: bool
) -> None:
    try:
        AddressPolicy.parse(entries).check(host, [address])
    except ForbiddenAddress:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "10.1.0.5/16", "127.1", "a/b", "http://x", "1"])
def test_an_entry_of_another_form_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        AddressPolicy.parse([entry])


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "127.0.1", "0", "0x",
        "010.0.0.1", "127.0.0.01", "1.2.3.4.5", "256.1.1.1", "127.0.0.1.", "8.8.8.8.", "a.b.0x7f",
        "fe80::1%eth0", "::1%lo", "shop.test.1", "2852039166",
    ],
)  # fmt: skip
def test_a_number_that_is_read_as_an_address_is_no_name(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        literal(host)


@pytest.mark.parametrize("host", ["shop.test", "a1.b2", "x0x7", "1password.com", "shop.test."])
def test_a_name_is_a_name(host: str) -> None:
    assert literal(host) is None


@given(st.ip_addresses())
def test_every_address_is_read_as_itself(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert literal(str(address)) == address


@given(st.ip_addresses(v=4))
def test_an_address_is_never_more_allowed_in_another_form(address: ipaddress.IPv4Address) -> None:
    for prefix in ("::ffff:", "::", "64:ff9b::"):
        with pytest.raises(ForbiddenAddress):
            NOBODY.check("x", [f"{prefix}{address}"])


@given(st.text(max_size=30))
async def test_no_host_whatever_leads_to_a_forbidden_address(host: str) -> None:
    """Through httpx, which encodes names, as a request would."""
    try:
        url = httpx.URL(scheme="http", host=host)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return
    asked: list[str] = []

    async def resolver(name: str, _: int) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    with pytest.raises(httpx.ConnectError):
        await addresses_of(url.raw_host.decode("ascii"), 80, NOBODY, resolver)
    assert all(literal(name) is None for name in asked)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), UnknownHost),
        (UnicodeError("label too long"), UnknownHost),
        (socket.gaierror(socket.EAI_AGAIN, ""), httpx.ConnectError),
        (OSError("no network"), httpx.ConnectError),
    ],
    ids=repr,
)
async def test_a_name_that_cannot_be_resolved(error: Exception, kind: type[Exception]) -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        raise error

    with pytest.raises(kind) as raised:
        await addresses_of("shop.test", 80, NOBODY, resolver)

    assert type(raised.value) is kind


async def test_a_name_without_an_address_is_unknown() -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        return []

    with pytest.raises(UnknownHost):
        await addresses_of("shop.test", 80, NOBODY, resolver)


async def test_the_system_resolves_names() -> None:
    assert "127.0.0.1" in await resolve("localhost", 80)
