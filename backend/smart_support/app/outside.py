"""What of an installation reaches outside, as the server and single commands both need it."""

import ssl
from functools import partial

import httpx

from smart_support import __version__
from smart_support.agent.ask import ask_model
from smart_support.agent.model import StreamingChatOpenAI
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.advice import Ask
from smart_support.operations.postgres import PostgresOperations
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.settings import Settings
from smart_support.tools.authorize import Door
from smart_support.tools.credential_check import CredentialCheck
from smart_support.tools.keyring import Keyring
from smart_support.tools.oauth import OAuth


def open_client(
    trust: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client that goes only where it is told to, with bounds on connections and time."""
    return httpx.AsyncClient(
        transport=transport,
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(10.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        headers={"User-Agent": f"smart-support/{__version__}"},
    )


def credential_check(
    settings: Settings,
    keyring: Keyring,
    operations: PostgresOperations,
    credentials: PostgresCredentials,
    oauth: OAuth,
    stops: PostgresStops,
    audit: PostgresAudit,
    door: Door,
) -> CredentialCheck:
    """What tries a credential out with one call, bounded as every call is."""
    return CredentialCheck(
        keyring,
        operations,
        credentials,
        oauth,
        stops,
        audit,
        door,
        total=settings.smart_support_tool_timeout,
        attempt=settings.smart_support_tool_attempt_timeout,
        max_bytes=settings.smart_support_tool_max_bytes,
    )


def advises(settings: Settings) -> bool:
    """Whether the model is asked about imported operations: never the offline one."""
    offline = settings.openai_api_key is None and settings.openai_base_url is None
    return settings.smart_support_model_advises and not offline


def asker(settings: Settings, model: StreamingChatOpenAI) -> Ask:
    """What asks the model a single question, as long as a reply may take."""
    return partial(ask_model, model, within=settings.smart_support_model_timeout)
