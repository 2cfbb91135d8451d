"""Alerts by e-mail as mail servers want them: TLS from the beginning or asked for, and a login.

The server is a real one on loopback, its certificate made here. What does not hold gets nothing,
above all no password, and costs nobody else the alert.
"""

import asyncio
import email
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.server import logged, settings_of
from tests.support.upstream import Upstream
from tests.telemetry.test_receivers import FIRING, Mailbox, no_pause, sent

from smart_support.telemetry.receivers import opened
from smart_support.telemetry.watch import outboxes_of

USER, PASSWORD = "desk@example.org", "p/ss: w@rd"
LOGIN = "desk%40example.org:p%2Fss%3A%20w%40rd"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that only who has this file trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("mail") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as opened_client:
        yield opened_client


class Post(Mailbox):
    """A mail server; it remembers what it was given as a login, and with which encryption."""

    def __init__(self) -> None:
        super().__init__()
        self.logins: list[tuple[str, str]] = []

    def log_in(self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.logins[-1] == (USER, PASSWORD), handled=False)


@asynccontextmanager
async def serving(certificate: Path | None, *, implicit: bool = False) -> AsyncIterator[Any]:
    """A mail server that takes nothing without a login; its address without the scheme."""
    post, context = Post(), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    sessions: list[SMTP] = []

    def speak() -> SMTP:
        with warnings.catch_warnings():
            # It does not see that its socket is encrypted already.
            warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
            session = SMTP(
                post,
                tls_context=None if implicit else context,
                authenticator=post.log_in,
                auth_required=True,
                auth_require_tls=not implicit,
            )
        sessions.append(session)
        return session

    loop = asyncio.get_running_loop()
    server = await loop.create_server(speak, "127.0.0.1", 0, ssl=context if implicit else None)
    async with server:
        try:
            yield post, server.sockets[0].getsockname()[1]
        finally:
            for session in sessions:
                if session.transport is not None:
                    session.transport.abort()
            await asyncio.sleep(0)  # in which they are closed


async def alerted(client: httpx.AsyncClient, address: str) -> tuple[list[Any], list[Any]]:
    """Tell of one alert by e-mail and by a webhook; what the webhook got, and what was logged."""
    async with Upstream() as hook:
        settings = settings_of(
            smart_support_alert_smtp=address,
            smart_support_alert_email_to="ada@example.org",
            smart_support_alert_webhook=hook.base_url,
        )
        outboxes = outboxes_of(settings, client)
        for outbox in outboxes:
            outbox._sleep = no_pause
        with logged() as lines:
            async with opened(outboxes):
                for outbox in outboxes:
                    outbox.tell(FIRING)
                await asyncio.gather(*(outbox.idle() for outbox in outboxes))
    return [request.body for request in hook.requests], lines


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("scheme", "implicit"), [("smtp", False), ("smtps", True)])
async def test_a_mail_is_sent_encrypted_after_a_login(
    client: httpx.AsyncClient, certificate: Path, scheme: str, implicit: bool
) -> None:
    before = sent("email", "sent")
    async with serving(certificate, implicit=implicit) as (post, port):
        hooked, lines = await alerted(client, f"{scheme}://{LOGIN}@127.0.0.1:{port}")

    assert lines == []
    (envelope,) = post.mails
    assert post.logins == [(USER, PASSWORD)]
    assert envelope.rcpt_tos == ["ada@example.org"]
    assert email.message_from_bytes(envelope.content)["Subject"].startswith("[firing]")
    assert sent("email", "sent") == before + 1
    assert len(hooked) == 1


def shown(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield from (str(value) for value in line.values())


def assert_told_otherwise(hooked: list[Any], lines: list[dict[str, Any]]) -> None:
    """The webhook has it, the log has it as an error, and nothing says the password."""
    assert [body["key"] for body in hooked] == [FIRING.key]
    assert [line["event"] for line in lines] == ["alert_not_sent"] * 3 + ["alert_given_up"]
    assert (lines[-1]["receiver"], lines[-1]["summary"]) == ("email", FIRING.summary)
    assert not [text for text in shown(lines) if PASSWORD in text or "p%2F" in text]


@pytest.mark.usefixtures("trusted")
async def test_a_refused_login_is_told_and_costs_the_others_nothing(
    client: httpx.AsyncClient, certificate: Path
) -> None:
    before = sent("email", "failed")
    async with serving(certificate) as (post, port):
        hooked, lines = await alerted(client, f"smtp://desk:wrong@127.0.0.1:{port}")

    assert post.mails == []
    assert lines[0]["error"] == "SMTPAuthenticationError"
    assert sent("email", "failed") == before + 1
    assert_told_otherwise(hooked, lines)


@pytest.mark.parametrize(("scheme", "implicit"), [("smtp", False), ("smtps", True)])
async def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    client: httpx.AsyncClient, certificate: Path, scheme: str, implicit: bool
) -> None:
    async with serving(certificate, implicit=implicit) as (post, port):
        hooked, lines = await alerted(client, f"{scheme}://{LOGIN}@127.0.0.1:{port}")

    assert (post.logins, post.mails) == ([], [])
    assert lines[0]["error"] == "SSLCertVerificationError"
    assert_told_otherwise(hooked, lines)


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_another_name_gets_no_password(
    client: httpx.AsyncClient, certificate: Path
) -> None:
    async with serving(certificate) as (post, port):
        hooked, lines = await alerted(client, f"smtp://{LOGIN}@localhost:{port}")

    assert (post.logins, post.mails) == ([], [])
    assert_told_otherwise(hooked, lines)


async def test_a_server_without_encryption_gets_no_password(client: httpx.AsyncClient) -> None:
    async with serving(None) as (post, port):
        hooked, lines = await alerted(client, f"smtp://{LOGIN}@127.0.0.1:{port}")

    assert (post.logins, post.mails) == ([], [])
    assert lines[0]["error"] == "SMTPNotSupportedError"
    assert_told_otherwise(hooked, lines)
