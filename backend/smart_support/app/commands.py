"""The few parts that single commands work with, on a migrated database."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from smart_support.agent.model import open_model
from smart_support.app.keys import keys_of, tokens_of
from smart_support.app.outside import advises, asker, credential_check, open_client
from smart_support.database.engine import open_engine, sessions
from smart_support.errors import InvalidInput
from smart_support.identity.sign_ins import SignIns
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.advice import SWITCHED_OFF, Ask
from smart_support.operations.postgres import PostgresOperations
from smart_support.resilience.transport import CheckedBackend, StackTransport
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.security.endings_postgres import PostgresEndings
from smart_support.settings import Settings
from smart_support.tools.authorize import Door, SpecAuthorizer
from smart_support.tools.credential_check import CredentialCheck
from smart_support.tools.keyring import Keyring
from smart_support.tools.oauth import OAuth


@dataclass(frozen=True, slots=True)
class OpenKeyring:
    """What commands about credentials work with."""

    operations: PostgresOperations
    credentials: PostgresCredentials
    keyring: Keyring
    audit: PostgresAudit


@asynccontextmanager
async def open_operations(url: str) -> AsyncIterator[PostgresOperations]:
    """The catalogue alone, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        yield PostgresOperations(sessions(engine))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_keyring(settings: Settings, url: str) -> AsyncIterator[OpenKeyring]:
    """The credentials alone, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        operations = PostgresOperations(connected)
        credentials = PostgresCredentials(connected, keys_of(settings))
        async with open_client(ssl.create_default_context()) as client:
            keyring = Keyring(operations, credentials, OAuth(client, credentials))
            yield OpenKeyring(operations, credentials, keyring, PostgresAudit(connected))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_credential_check(
    settings: Settings, url: str
) -> AsyncIterator[tuple[PostgresOperations, CredentialCheck]]:
    """What tries credentials out, on the migrated database at `url`."""
    upstream_settings = UpstreamSettings.from_settings(settings)
    trust = ssl.create_default_context()
    transport = StackTransport(CheckedBackend(upstream_settings.addresses), ssl_context=trust)
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        operations = PostgresOperations(connected)
        credentials = PostgresCredentials(connected, keys_of(settings))
        async with (
            open_client(trust, transport) as client,
            Upstreams(upstream_settings) as upstreams,
        ):
            oauth = OAuth(client, credentials)
            yield (
                operations,
                credential_check(
                    settings,
                    Keyring(operations, credentials, oauth),
                    operations,
                    credentials,
                    oauth,
                    PostgresStops(connected),
                    PostgresAudit(connected),
                    Door(upstreams, SpecAuthorizer(operations, credentials, oauth)),
                ),
            )
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_switches(url: str) -> AsyncIterator[tuple[PostgresOperations, PostgresStops]]:
    """The catalogue and the kill switch, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        yield PostgresOperations(sessions(engine)), PostgresStops(sessions(engine))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_sign_ins(settings: Settings, url: str) -> AsyncIterator[SignIns]:
    """What ends sign-ins, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        yield SignIns(tokens_of(settings), PostgresAudit(connected), PostgresEndings(connected))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_adviser(settings: Settings) -> AsyncIterator[Ask]:
    """The model alone, to be asked about imported operations.

    Raises:
        InvalidInput: that is switched off, or there is no model.
    """
    if not advises(settings):
        raise InvalidInput(SWITCHED_OFF)
    model = open_model(settings)
    try:
        yield asker(settings, model)
    finally:
        await model.close()
