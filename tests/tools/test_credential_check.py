"""Trying a credential out says what the API says of it, and never the credential."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from tests.operations.documents import openapi, parameter
from tests.support.guarded import CLIENT_SECRET, Company, guarded
from tests.tools.gate import Gate, open_gate

from smart_support.database import Sessions
from smart_support.errors import InvalidInput, NotFound
from smart_support.ledger.stops import Stopped, StopScope
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.tools.arguments import ArgumentsInvalid
from smart_support.tools.authorize import Door
from smart_support.tools.credential_check import Checked, CredentialCheck

KEY = "canary-key-0123456789"
HEADER = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
OTHER = {"type": "apiKey", "in": "header", "name": "X-Other"}


@pytest.fixture(scope="module")
async def company() -> AsyncIterator[Company]:
    async with guarded() as opened:
        yield opened


@pytest.fixture
async def gate(sessions: Sessions, company: Company) -> AsyncIterator[Gate]:
    async with open_gate(sessions, company) as opened:
        yield opened


def stops(gate: Gate) -> PostgresStops:
    return PostgresStops(gate.sessions, monotonic=gate.clock.monotonic)


async def check(gate: Gate, scheme: str = "key", **more: Any) -> Checked:
    checks = CredentialCheck(
        gate.keyring,
        gate.operations,
        gate.credentials,
        gate.oauth,
        stops(gate),
        PostgresAudit(gate.sessions),
        Door(gate.upstreams, gate.authorizer),
        total=5.0,
        attempt=2.0,
        max_bytes=10_000,
    )
    checked = await checks.check(gate.spec_id, scheme, by="op", **more)
    assert "canary" not in str(asdict(checked))
    return checked


class TestWithARead:
    async def test_that_is_answered_it_is_accepted(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)

        checked = await check(gate)

        assert (checked.result, checked.asked, checked.status) == (
            "accepted", "GET /things", 200,
        )  # fmt: skip
        (call,) = gate.company.calls
        assert call.headers["x-api-key"] == KEY
        assert call.headers["x-correlation-id"] == checked.correlation_id

    @pytest.mark.parametrize(
        ("status", "result"),
        [(403, "refused"), (404, "unclear"), (429, "unclear"), (500, "unreachable")],
    )
    async def test_every_other_answer_is_called_what_it_is(
        self, gate: Gate, status: int, result: str
    ) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        gate.company.answer_status = status

        checked = await check(gate)

        assert (checked.result, checked.status) == (result, status)

    async def test_a_refused_one_is_in_the_troubles_until_one_is_accepted(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        gate.company.guard = lambda _: False

        refused = await check(gate)
        trouble = (await gate.keyring.ring(gate.spec_id)).trouble
        gate.company.guard = lambda _: True
        accepted = await check(gate)

        assert (refused.result, refused.status, accepted.result) == ("refused", 401, "accepted")
        assert trouble is not None
        assert trouble.correlation_id == refused.correlation_id
        assert (await gate.keyring.ring(gate.spec_id)).trouble is None

    async def test_a_server_that_is_not_there_is_unreachable(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        away = "http://127.0.0.1:1"
        await gate.operations.set_base_url(gate.spec_id, away, by="op")
        await gate.give("key", value=KEY)

        checked = await check(gate)

        assert (checked.result, checked.status) == ("unreachable", None)

    async def test_each_try_is_in_the_audit_log_without_the_secret(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)

        await check(gate)

        (entry, *_) = await PostgresAudit(gate.sessions).page()
        assert (entry.act, entry.actor, entry.subject) == (
            Act.CREDENTIAL_TESTED.value, "op", gate.spec_id,
        )  # fmt: skip
        assert entry.details == {"name": "key", "result": "accepted", "operation": "GET /things"}


class TestWhichRead:
    async def imported(self, gate: Gate, paths: dict[str, Any]) -> None:
        for each in paths.values():
            each["get"].setdefault("security", [{"key": []}])
        await gate.imported(
            openapi(
                paths,
                servers=[{"url": gate.company.base_url}],
                components={"securitySchemes": {"key": HEADER, "other": OTHER}},
            )
        )
        await gate.give("key", value=KEY)

    async def test_is_called_needs_the_scheme_and_no_argument(self, gate: Gate) -> None:
        search = {"parameters": [parameter("q", required=True)]}
        optional = {"parameters": [parameter("page")]}
        paths: dict[str, Any] = {
            "/a": {"get": {"security": [{"other": []}]}},
            "/b": {"get": search},
            "/c/{id}": {"get": {}},
            "/d": {"get": optional},
        }
        await self.imported(gate, paths)

        assert (await check(gate)).asked == "GET /d"

    async def test_is_called_by_way_of_this_scheme_where_there_are_others(self, gate: Gate) -> None:
        either = {"security": [{"other": []}, {"key": []}, {}]}
        await self.imported(gate, {"/a": {"get": either}})
        await gate.give("other", value="canary-other-01234")

        await check(gate)

        assert gate.company.calls[0].headers["x-api-key"] == KEY
        assert "x-other" not in gate.company.calls[0].headers

    async def test_may_be_named_with_its_arguments(self, gate: Gate) -> None:
        await self.imported(gate, {"/b": {"get": {"parameters": [parameter("q", required=True)]}}})

        with pytest.raises(InvalidInput, match="No approved read without required arguments"):
            await check(gate)
        with pytest.raises(ArgumentsInvalid, match="q"):
            await check(gate, operation="GET /b")
        checked = await check(gate, operation="GET /b", arguments={"q": "x"})

        assert checked.result == "accepted"
        assert gate.company.calls[0].query == "q=x"

    async def test_is_never_one_that_writes_or_is_not_approved(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        (read,) = [
            each
            for each in await gate.operations.operations(gate.spec_id)
            if each.key == "GET /things"
        ]
        await decide(
            gate.operations,
            read,
            state=ReviewState.REJECTED,
            correction=Correction(),
            by="op",
            reason=None,
            version=read.version,
        )

        for key in ("POST /things", "GET /things", "GET /nowhere"):
            with pytest.raises(NotFound, match="is no approved read"):
                await check(gate, operation=key, arguments={})
        with pytest.raises(InvalidInput, match="No approved read"):
            await check(gate)
        assert gate.company.calls == []

    async def test_is_not_called_without_all_that_it_needs(self, gate: Gate) -> None:
        await self.imported(gate, {"/a": {"get": {"security": [{"key": [], "other": []}]}}})

        with pytest.raises(InvalidInput, match=r"Nothing was sent: .*other"):
            await check(gate)
        assert gate.company.calls == []

    async def test_is_not_called_while_it_is_switched_off(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        await stops(gate).stop(
            StopScope.API, gate.spec_id, title="t", by="op", reason="r", at=datetime.now(UTC)
        )

        with pytest.raises(Stopped):
            await check(gate)
        assert gate.company.calls == []


class TestOAuth:
    async def document(self, gate: Gate, flow: str) -> None:
        scheme = {"type": "oauth2", "flows": gate.company.flows()}
        await gate.document({"login": scheme}, [{"login": []}])
        await gate.give_client(flow=flow)

    async def test_asks_for_a_new_token_each_time(self, gate: Gate) -> None:
        await self.document(gate, "clientCredentials")

        for _ in range(2):
            checked = await check(gate, "login")
            assert (checked.result, checked.asked) == ("accepted", gate.company.base_url)

        assert len(gate.company.asked) == 2
        assert gate.company.calls == []

    async def test_says_what_the_server_says(self, gate: Gate) -> None:
        await self.document(gate, "clientCredentials")

        gate.company.refuses = "invalid_client"
        refused = await check(gate, "login")
        gate.company.token_answer = lambda: JSONResponse({"at": CLIENT_SECRET}, 503)
        away = await check(gate, "login")

        assert (refused.result, away.result) == ("refused", "unreachable")
        assert "invalid_client" in refused.said

    async def test_calls_the_read_that_is_named_with_a_token(self, gate: Gate) -> None:
        await self.document(gate, "clientCredentials")
        gate.company.guard = gate.company.knows_token

        checked = await check(gate, "login", operation="GET /things")

        assert (checked.result, checked.asked) == ("accepted", "GET /things")

    async def test_has_nothing_to_try_of_what_is_each_customers(self, gate: Gate) -> None:
        await self.document(gate, "authorizationCode")

        with pytest.raises(InvalidInput, match="Each customer connects"):
            await check(gate, "login")


async def test_what_is_not_set_or_not_there_is_said(gate: Gate) -> None:
    await gate.document({"key": HEADER}, [{"key": []}])

    with pytest.raises(InvalidInput, match="Nothing is set for key"):
        await check(gate)
    with pytest.raises(NotFound, match="no security scheme 'else'"):
        await check(gate, "else")
