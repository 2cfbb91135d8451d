"""Tokens: asked for once, kept to their owner, renewed in time, never told to anybody."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse, PlainTextResponse
from tests.support.guarded import CLIENT_ID, CLIENT_SECRET, Company, guarded
from tests.support.turns import ADA, BOB
from tests.tools.gate import Gate, open_gate

from smart_support.database import Sessions
from smart_support.errors import InvalidInput, NotFound
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials import Kind, Slot
from smart_support.tools.authorize import CredentialMissing
from smart_support.tools.oauth import (
    ConnectionNeeded,
    ConnectionRefused,
    OAuthRefused,
    OAuthUnavailable,
)

HERE = "http://127.0.0.1:9/api/connect/callback"


@pytest.fixture(scope="module")
async def company() -> AsyncIterator[Company]:
    async with guarded() as opened:
        yield opened


@pytest.fixture
async def gate(sessions: Sessions, company: Company) -> AsyncIterator[Gate]:
    async with open_gate(sessions, company) as opened:
        company.guard = company.knows_token
        yield opened


async def with_client(gate: Gate, flow: str, **given: Any) -> None:
    """The operator has given our client for this flow."""
    flows = gate.company.flows()
    await gate.document({"login": {"type": "oauth2", "flows": flows}}, [{"login": ["orders"]}])
    await gate.give_client(flow=flow, **given)


async def company_client(gate: Gate, **given: Any) -> None:
    await with_client(gate, "clientCredentials", **given)


async def customers_client(gate: Gate, **given: Any) -> None:
    await with_client(gate, "authorizationCode", **given)


def revoke_all(gate: Gate) -> None:
    gate.company.good.clear()


class TestTheCompanysOwn:
    @pytest.mark.parametrize("in_body", [False, True])
    async def test_is_asked_for_once_and_used_until_it_ends(
        self, gate: Gate, in_body: bool
    ) -> None:
        await company_client(gate, in_body=in_body)

        results = [await gate.call(), await gate.write(person=BOB)]
        gate.clock.pass_by(3600 - 31)
        results.append(await gate.call())

        assert [result.outcome for result in results] == ["done"] * 3
        (asked,) = gate.company.asked
        assert asked.form["grant_type"] == "client_credentials"
        assert asked.form["scope"] == "orders"
        assert ("client_secret" in asked.form) is in_body

        gate.clock.pass_by(2)  # now it has less than 30 s to live
        await gate.call()

        assert len(gate.company.asked) == 2

    async def test_survives_a_restart(self, gate: Gate) -> None:
        await company_client(gate)
        await gate.call()

        await gate.another().call()

        assert len(gate.company.asked) == 1

    async def test_is_asked_for_once_by_many_at_once(self, gate: Gate) -> None:
        await company_client(gate)

        results = await asyncio.gather(*(gate.call() for _ in range(10)))

        assert {result.outcome for result in results} == {"done"}
        assert len(gate.company.asked) == 1

    @pytest.mark.parametrize("expires_in", [None, "never", -5, [], 1e300])
    async def test_with_an_odd_time_to_live_is_used(self, gate: Gate, expires_in: Any) -> None:
        gate.company.expires_in = expires_in
        await company_client(gate)

        assert (await gate.call()).outcome == "done"

    async def test_is_replaced_once_when_the_api_refuses_it(self, gate: Gate) -> None:
        await company_client(gate)
        await gate.call()
        revoke_all(gate)

        read, written = await gate.call(), None
        revoke_all(gate)
        written = await gate.write()

        assert (read.outcome, written.outcome) == ("done", "done")
        assert len(gate.company.asked) == 3
        assert [call.method for call in gate.company.calls] == ["GET", "GET", "GET", "POST", "POST"]
        assert [row.status for row in await gate.attempts()].count(401) == 2

    async def test_is_not_replaced_for_ever(self, gate: Gate) -> None:
        await company_client(gate)
        gate.company.guard = lambda _: False

        result = await gate.call()

        assert (result.outcome, result.code) == ("failed", "API_AUTH")
        assert (len(gate.company.calls), len(gate.company.asked)) == (2, 2)

    async def test_a_403_is_no_reason_for_a_new_one(self, gate: Gate) -> None:
        await company_client(gate)
        await gate.call()
        gate.company.guard = lambda _: True
        gate.company.answer_status = 403

        result = await gate.call()

        assert (result.outcome, result.code) == ("failed", "API_AUTH")
        assert len(gate.company.asked) == 1

    @pytest.mark.parametrize("error", ["invalid_client", "invalid_scope", "<b>odd</b>"])
    async def test_if_refused_reaches_the_operator(self, gate: Gate, error: str) -> None:
        await company_client(gate)
        gate.company.refuses = error

        with pytest.raises(OAuthRefused) as refused:
            await gate.call()

        assert gate.company.calls == []
        assert CLIENT_SECRET not in str(refused.value)
        assert "<b>" not in str(refused.value)
        trouble = (await gate.keyring.ring(gate.spec_id)).trouble
        assert trouble is not None
        assert "refused us" in trouble.reason

    @pytest.mark.parametrize(
        "answer",
        [
            lambda: JSONResponse({"access_token": "x" * 20_000}),
            lambda: JSONResponse({"access_token": "two words"}),
            lambda: JSONResponse({"access_token": 5}),
            lambda: JSONResponse(["no object"]),
            lambda: PlainTextResponse("no JSON"),
            lambda: PlainTextResponse("x" * 300_000),
            lambda: JSONResponse({}, 503),
            lambda: JSONResponse({}, 302, headers={"location": "http://127.0.0.1:9/"}),
        ],
    )
    async def test_of_a_form_that_is_not_known_is_not_used(self, gate: Gate, answer: Any) -> None:
        await company_client(gate)
        gate.company.token_answer = answer

        with pytest.raises(OAuthUnavailable):
            await gate.call()

        assert gate.company.calls == []

    async def test_of_another_type_than_bearer_is_not_used(self, gate: Gate) -> None:
        await company_client(gate)
        gate.company.token_answer = lambda: JSONResponse(
            {"access_token": "x", "token_type": "DPoP"}
        )

        with pytest.raises(OAuthRefused):
            await gate.call()

    async def test_is_forgotten_when_the_client_is_replaced(self, gate: Gate) -> None:
        await company_client(gate)
        await gate.call()

        await gate.give_client(flow="clientCredentials")
        await gate.call()

        assert len(gate.company.asked) == 2

    async def test_a_caller_that_is_stopped_does_not_stop_the_others(self, gate: Gate) -> None:
        await company_client(gate)
        gate.company.hold = asyncio.Event()
        first, second = (asyncio.create_task(gate.call()) for _ in range(2))
        while not gate.company.asked:
            await asyncio.sleep(0.01)
        first.cancel()
        gate.company.hold.set()

        assert (await second).outcome == "done"
        assert len(gate.company.asked) == 1
        with pytest.raises(asyncio.CancelledError):
            await first


class TestACustomers:
    async def test_is_needed_and_then_theirs_alone(self, gate: Gate) -> None:
        await customers_client(gate)
        with pytest.raises(ConnectionNeeded):
            await gate.call()

        await gate.connect(ADA)
        result = await gate.call(person=ADA)
        with pytest.raises(ConnectionNeeded) as needed:
            await gate.call(person=BOB)

        assert result.outcome == "done"
        assert len(gate.company.calls) == 1
        assert (needed.value.spec_id, needed.value.scheme) == (gate.spec_id, "login")
        # It is the customer's to give, so that no operator is called.
        assert (await gate.keyring.ring(gate.spec_id)).trouble is None

    async def test_each_gets_their_own(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect(ADA)
        await gate.connect(BOB)

        await gate.call(person=ADA)
        await gate.call(person=BOB)

        first, second = (call.headers["authorization"] for call in gate.company.calls)
        assert first != second
        (state,) = (await gate.keyring.ring(gate.spec_id)).schemes
        assert state.connected == 2

    async def test_is_renewed_before_it_ends(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.clock.pass_by(3600)

        results = [await gate.call(), await gate.call()]
        gate.clock.pass_by(3600)
        results.append(await gate.call())

        assert [result.outcome for result in results] == ["done"] * 3
        grants = [asked.form["grant_type"] for asked in gate.company.asked]
        assert grants == ["authorization_code", "refresh_token", "refresh_token"]

    async def test_keeps_a_refresh_token_that_is_not_rotated(self, gate: Gate) -> None:
        gate.company.rotates = False
        await customers_client(gate)
        await gate.connect()
        for _ in range(3):
            gate.clock.pass_by(3600)
            await gate.call()

        assert len({asked.form.get("refresh_token") for asked in gate.company.asked}) == 2

    async def test_is_renewed_once_by_many_in_several_processes(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.clock.pass_by(3600)
        processes = [gate, gate.another(), gate.another()]

        results = await asyncio.gather(*(process.call() for process in processes for _ in range(5)))

        # The server would have refused a refresh token that comes again, and disconnected Ada.
        assert {result.outcome for result in results} == {"done"}
        assert len(gate.company.asked) == 2

    async def test_a_process_that_died_while_renewing_is_not_waited_for_for_ever(
        self, gate: Gate
    ) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.clock.pass_by(3600)
        token = await gate.credentials.get(token_of(gate))
        assert token is not None
        assert await gate.credentials.claim(token, seconds=0.2)
        assert not await gate.credentials.claim(token, seconds=0.2)

        assert (await gate.call()).outcome == "done"

    async def test_that_was_revoked_is_asked_for_again(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.company.refresh_tokens.clear()
        gate.clock.pass_by(3600)

        for _ in range(2):
            with pytest.raises(ConnectionNeeded):
                await gate.call()
        await gate.connect()

        assert (await gate.call()).outcome == "done"
        refreshes = [a for a in gate.company.asked if a.form["grant_type"] == "refresh_token"]
        assert len(refreshes) == 1

    async def test_refused_in_the_middle_of_a_write_is_asked_for_again_and_says_so(
        self, gate: Gate
    ) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.company.refresh_tokens.clear()
        revoke_all(gate)

        result = await gate.write()

        assert (result.outcome, result.code) == ("failed", "API_CONNECTION_NEEDED")
        assert result.connect is not None
        assert len(gate.company.calls) == 1

    async def test_is_not_lost_when_the_server_is_away(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()
        gate.clock.pass_by(3600)
        gate.company.token_answer = lambda: JSONResponse({}, 503)
        with pytest.raises(OAuthUnavailable):
            await gate.call()
        gate.company.token_answer = None

        assert (await gate.call()).outcome == "done"

    async def test_is_forgotten_when_they_disconnect(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()

        assert await gate.credentials.delete(token_of(gate), by=ADA.id, role="customer")

        with pytest.raises(ConnectionNeeded):
            await gate.call()
        acts = [(entry.act, entry.actor) for entry in await PostgresAudit(gate.sessions).page()]
        assert acts[:2] == [("account_disconnected", ADA.id), ("account_connected", ADA.id)]

    async def test_is_kept_when_only_the_secret_of_the_client_is_new(self, gate: Gate) -> None:
        await customers_client(gate)
        await gate.connect()

        await gate.give_client(flow="authorizationCode")
        kept = await gate.call()
        await gate.give_client(flow="authorizationCode", client_id="another")

        assert kept.outcome == "done"
        with pytest.raises(ConnectionNeeded):
            await gate.call()

    async def test_lets_nobody_in_who_is_not_signed_in(self, gate: Gate) -> None:
        await company_client(gate)
        await gate.call()  # the company's own token must not stand in for a customer's
        await gate.give_client(flow="authorizationCode")
        tool = await gate.tool("listThings")
        bare = gate.caller.request(tool, gate.planned(tool, {}, {}), {})

        with pytest.raises(ConnectionNeeded):
            await gate.authorizer.authorize(bare, tool, {})


class TestTheWayThere:
    async def test_shows_the_client_a_challenge_and_nothing_secret(self, gate: Gate) -> None:
        await customers_client(gate)
        client = await gate.keyring.client(gate.spec_id, "login")

        departure = await gate.oauth.depart(client, ADA.id, redirect_uri=HERE)

        url = httpx.URL(departure.url)
        assert f"{url.scheme}://{url.host}:{url.port}" == gate.company.base_url
        assert url.params["audience"] == "shop"
        assert url.params["client_id"] == CLIENT_ID
        assert url.params["redirect_uri"] == HERE
        assert url.params["scope"] == "orders"
        assert url.params["code_challenge_method"] == "S256"
        assert len(base64.urlsafe_b64decode(url.params["code_challenge"] + "=")) == 32
        for secret in (CLIENT_SECRET, departure.keep, ADA.id):
            assert secret not in departure.url

    async def arrive(self, gate: Gate, **changed: Any) -> None:
        client = await gate.keyring.client(gate.spec_id, "login")
        departure = await gate.oauth.depart(client, ADA.id, redirect_uri=HERE)
        back = httpx.URL((await gate.http.get(departure.url)).headers["location"]).params
        given = {
            "state": back["state"],
            "keep": departure.keep,
            "code": back.get("code"),
            "error": back.get("error"),
        }
        await gate.oauth.arrive(**given | changed)

    @pytest.mark.parametrize(
        "changed",
        [
            {"state": ""},
            {"state": "01900000-0000-7000-8000-00000000000a.x"},
            {"state": "no uuid.x"},
            {"keep": ""},
            {"keep": "of another browser"},
            {"code": None},
            {"code": None, "error": "<script>"},
        ],
    )
    async def test_back_from_elsewhere_is_refused(
        self, gate: Gate, changed: dict[str, Any]
    ) -> None:
        await customers_client(gate)

        with pytest.raises(ConnectionRefused) as refused:
            await self.arrive(gate, **changed)

        assert "<script>" not in str(refused.value)
        assert gate.company.asked == []
        with pytest.raises(ConnectionNeeded):
            await gate.call()

    async def test_back_twice_counts_once(self, gate: Gate) -> None:
        await customers_client(gate)
        client = await gate.keyring.client(gate.spec_id, "login")
        departure = await gate.oauth.depart(client, ADA.id, redirect_uri=HERE)
        back = httpx.URL((await gate.http.get(departure.url)).headers["location"]).params
        given = {"state": back["state"], "keep": departure.keep, "code": back["code"]}

        outcomes = await asyncio.gather(
            *(gate.oauth.arrive(**given, error=None) for _ in range(3)), return_exceptions=True
        )

        assert [type(each) for each in outcomes].count(ConnectionRefused) == 2
        assert len(gate.company.asked) == 1

    async def test_back_too_late_is_refused(self, gate: Gate) -> None:
        await customers_client(gate)
        client = await gate.keyring.client(gate.spec_id, "login")
        departure = await gate.oauth.depart(client, ADA.id, redirect_uri=HERE)
        back = httpx.URL((await gate.http.get(departure.url)).headers["location"]).params
        gate.clock.pass_by(601)

        with pytest.raises(ConnectionRefused, match="too long"):
            await gate.oauth.arrive(
                state=back["state"], keep=departure.keep, code=back["code"], error=None
            )

    async def test_a_customer_who_says_no_is_not_connected(self, gate: Gate) -> None:
        await customers_client(gate)
        gate.company.consents = False

        with pytest.raises(ConnectionRefused, match="access_denied"):
            await gate.connect()

    async def test_a_code_that_the_server_does_not_know_connects_nobody(self, gate: Gate) -> None:
        await customers_client(gate)

        with pytest.raises(OAuthRefused):
            await self.arrive(gate, code="made-up")

    async def test_is_closed_where_customers_do_not_connect(self, gate: Gate) -> None:
        await company_client(gate)

        for scheme in ("login", "nowhere"):
            with pytest.raises(NotFound):
                await gate.keyring.client(gate.spec_id, scheme)


class TestTheOperator:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "which flow"),
            ({"flow": "implicit"}, "which flow"),
            ({"client_id": None}, "client_id"),
            ({"client_id": "a\nb"}, "client_id"),
            ({"flow": "clientCredentials", "client_secret": None}, "client_secret"),
            ({"flow": "clientCredentials", "scopes": ["two words"]}, "one word"),
        ],
    )
    async def test_is_told_what_is_missing(
        self, gate: Gate, given: dict[str, Any], said: str
    ) -> None:
        flows = gate.company.flows()
        await gate.document({"login": {"type": "oauth2", "flows": flows}}, [{"login": []}])

        with pytest.raises(InvalidInput, match=said):
            await gate.give_client(**given)

    async def test_sees_where_the_clients_secret_goes(self, gate: Gate) -> None:
        await company_client(gate)

        (state,) = (await gate.keyring.ring(gate.spec_id)).schemes

        assert state.credential is not None
        assert state.credential.shown["token_server"] == gate.company.base_url
        assert CLIENT_SECRET not in str(state)

    async def test_must_give_the_client_again_when_the_document_moves_the_server(
        self, gate: Gate
    ) -> None:
        await company_client(gate)
        moved = {"clientCredentials": {"tokenUrl": "http://127.0.0.1:9/evil", "scopes": {}}}
        await gate.document({"login": {"type": "oauth2", "flows": moved}}, [{"login": []}])

        with pytest.raises(CredentialMissing) as refused:
            await gate.call()

        assert "changed" in refused.value.reason
        assert gate.company.asked == []


class TestOpenIDConnect:
    async def discovered(self, gate: Gate, path: str = "/.well-known/openid-configuration") -> None:
        url = f"{gate.company.base_url}{path}"
        await gate.document(
            {"login": {"type": "openIdConnect", "openIdConnectUrl": url}}, [{"login": ["orders"]}]
        )

    @pytest.mark.parametrize("flow", ["clientCredentials", "authorizationCode"])
    async def test_finds_the_server_by_its_metadata(self, gate: Gate, flow: str) -> None:
        await self.discovered(gate)
        await gate.give_client(flow=flow)
        if flow == "authorizationCode":
            await gate.connect()

        assert (await gate.call()).outcome == "done"

    @pytest.mark.parametrize(
        "metadata",
        [
            {"issuer": "https://somebody-else.test"},
            {"token_endpoint": None},
            {"token_endpoint": "file:///etc/passwd"},
        ],
    )
    async def test_metadata_of_another_form_or_provider_is_refused(
        self, gate: Gate, metadata: dict[str, Any]
    ) -> None:
        await self.discovered(gate)
        gate.company.metadata = metadata

        with pytest.raises(InvalidInput):
            await gate.give_client(flow="clientCredentials")

    async def test_a_server_that_is_not_there_is_named(self, gate: Gate) -> None:
        await gate.document(
            {"login": {"type": "openIdConnect", "openIdConnectUrl": "http://127.0.0.1:9/x"}}, []
        )

        with pytest.raises(InvalidInput, match=r"127\.0\.0\.1"):
            await gate.give_client(flow="clientCredentials")


def token_of(gate: Gate) -> Slot:
    return Slot(
        spec_id=gate.spec_id, environment="live", name="login", kind=Kind.TOKEN, owner=ADA.id
    )
