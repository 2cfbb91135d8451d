"""Credentials from the command line. Secrets come from a prompt or standard input, never as words.

Words of a command stand in the list of processes and in the history of the shell.
"""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from getpass import getpass
from typing import Any

from smart_support.app.commands import OpenKeyring, open_credential_check, open_keyring
from smart_support.app.database import open_database
from smart_support.cli.specs import BY, base_address, catalogue, spec_named
from smart_support.errors import InvalidInput
from smart_support.operations.records import ENVIRONMENT, Spec
from smart_support.security.credentials import Kind
from smart_support.settings import Settings
from smart_support.tools.credential_check import Checked
from smart_support.tools.keyring import Given, Ring

ROLE = "operator"


@asynccontextmanager
async def _opened(settings: Settings, name: str) -> AsyncIterator[tuple[OpenKeyring, Spec]]:
    async with (
        open_database(settings, lambda _: None) as url,
        open_keyring(settings, url) as opened,
    ):
        yield opened, await spec_named(opened.operations, name)


def read_secret(what: str) -> str:
    """A line of standard input; at a terminal it is asked for and not shown.

    Raises:
        InvalidInput: there is none.
    """
    line = getpass(f"{what}: ") if sys.stdin.isatty() else sys.stdin.readline()
    secret = line.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise InvalidInput(f"No {what.lower()} was given on standard input.")
    return secret


async def ring(settings: Settings, name: str) -> Ring:
    """What an API needs and what is there."""
    async with _opened(settings, name) as (opened, spec):
        return await opened.keyring.ring(spec.id)


async def scheme_type(settings: Settings, name: str, scheme: str) -> str:
    """Of which type a scheme is, to know what to ask for.

    Raises:
        InvalidInput: the document has no such scheme; the text lists those that there are.
    """
    known = {state.name: state.scheme["type"] for state in (await ring(settings, name)).schemes}
    if scheme not in known:
        raise InvalidInput(f"There is no scheme {scheme!r}; there are: {', '.join(known)}.")
    return known[scheme]


async def give(settings: Settings, name: str, scheme: str, given: Given) -> None:
    """Set or replace the credential of a scheme."""
    async with _opened(settings, name) as (opened, spec):
        await opened.keyring.give(spec.id, scheme, given, by=BY)


async def give_header(
    settings: Settings, name: str, header: str, *, value: str | None, claim: str | None
) -> None:
    """Let every request carry a header."""
    async with _opened(settings, name) as (opened, spec):
        await opened.keyring.give_header(spec.id, header, value=value, claim=claim, by=BY)


async def take(settings: Settings, name: str, scheme: str) -> None:
    """Delete the credential of a scheme, or a header with this name."""
    async with _opened(settings, name) as (opened, spec):
        found = await opened.keyring.ring(spec.id)
        headers = {header.slot.name for header in found.headers}
        kind = Kind.HEADER if scheme.lower() in headers else Kind.SCHEME
        await opened.keyring.take(spec.id, scheme, kind, by=BY)


async def check(
    settings: Settings,
    name: str,
    scheme: str,
    *,
    operation: str | None,
    arguments: Mapping[str, Any],
) -> Checked:
    """Try the credential of a scheme out, with a read or by asking for a token."""
    async with (
        open_database(settings, lambda _: None) as url,
        open_credential_check(settings, url) as (operations, checks),
    ):
        spec = await spec_named(operations, name)
        return await checks.check(spec.id, scheme, by=BY, operation=operation, arguments=arguments)


def check_described(checked: Checked) -> Iterator[str]:
    """What came of a try, for people."""
    status = f" ({checked.status})" if checked.status is not None else ""
    yield f"{checked.result}: {checked.asked}{status}"
    yield f"    {checked.said}"
    yield f"    correlation id {checked.correlation_id}"


async def environments(settings: Settings, name: str) -> Spec:
    """The spec, with where its environments are."""
    async with catalogue(settings) as operations:
        return await spec_named(operations, name)


async def set_environment(
    settings: Settings, name: str, environment: str, base_url: str | None, *, choose: bool
) -> Spec:
    """Say where an environment is, and call it from now on if it is chosen.

    Raises:
        InvalidInput: its name or address is none, or nobody has said where it is.
    """
    if not ENVIRONMENT.fullmatch(environment):
        raise InvalidInput(f"{environment!r} is no name: use at most 40 of a-z, 0-9 and -.")
    address = None if base_url is None else base_address(base_url)
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        return await operations.set_environment(spec.id, environment, address, by=BY, choose=choose)


def environments_described(spec: Spec) -> Iterator[str]:
    """Each environment on a line, with a mark on the one that is called."""
    for name, base_url in sorted(spec.known_environments().items()):
        mark = "*" if name == spec.environment else " "
        yield f"{mark} {name}: {base_url or 'no base URL'}"


async def reseal(settings: Settings) -> int:
    """Seal everything with the newest key; how much was sealed with another."""
    async with (
        open_database(settings, lambda _: None) as url,
        open_keyring(settings, url) as opened,
    ):
        return await opened.credentials.reseal(by=BY, role=ROLE)


def described(found: Ring) -> Iterator[str]:
    """What opens an API, for people; no secret is among it."""
    yield f"Environment {found.spec.environment}: {found.spec.base_url or 'no base URL'}"
    for state in found.schemes:
        kind = state.scheme["type"]
        yield f"{state.name}  [{state.state}]  {kind}, {state.operations} operations"
        if state.reason:
            yield f"    {state.reason}"
        if state.credential is not None:
            hint = state.credential.shown.get("hint", "")
            yield f"    {hint} set by {state.credential.set_by}, {state.credential.set_at:%F %R}"
            yield f"    sent to {', '.join(state.credential.origins)} alone"
    for header in found.headers:
        claim = header.shown.get("claim")
        filled = f"the customer's {claim}" if claim else f"fixed {header.shown.get('hint')}"
        yield f"header {header.slot.name}: {filled}"
    if found.trouble is not None:
        yield f"{found.trouble.count} calls failed, the last: {found.trouble.reason}"
