"""What opens an API is in the request, where the document says, and nowhere else."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from tests.operations.documents import openapi, parameter
from tests.support.guarded import Company, guarded
from tests.support.turns import ADA, BOB
from tests.tools.gate import Gate, open_gate

from smart_support.database import Sessions
from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.schema import tool_schema
from smart_support.resilience.origin import origin_of
from smart_support.security.credentials import Kind
from smart_support.security.credentials_postgres import _credential
from smart_support.security.sealing import SealBroken
from smart_support.security.tables import credentials as table
from smart_support.tools.authorize import CredentialMissing

KEY = "canary-key-0123456789"
HEADER = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
QUERY = {"type": "apiKey", "in": "query", "name": "api key"}
COOKIE = {"type": "apiKey", "in": "cookie", "name": "session"}
BASIC = {"type": "http", "scheme": "Basic"}
BEARER = {"type": "http", "scheme": "bearer"}


@pytest.fixture(scope="module")
async def company() -> AsyncIterator[Company]:
    async with guarded() as opened:
        yield opened


@pytest.fixture
async def gate(sessions: Sessions, company: Company) -> AsyncIterator[Gate]:
    async with open_gate(sessions, company) as opened:
        yield opened


class TestEachScheme:
    async def test_a_key_in_a_header(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)

        result = await gate.call()

        assert result.outcome == "done"
        assert gate.company.calls[0].headers["x-api-key"] == KEY

    async def test_a_key_in_the_query_beside_the_arguments(self, gate: Gate) -> None:
        search = parameter("q")
        await gate.document({"key": QUERY}, [{"key": []}], parameters=[search])
        await gate.give("key", value="canary&key=1 %2F")

        await gate.call(arguments={"q": "a&b ü"})

        (call,) = gate.company.calls
        assert call.query == "q=a%26b%20%C3%BC&api%20key=canary%26key%3D1%20%252F"
        assert "canary" not in str(await gate.attempts())

    async def test_a_key_in_a_cookie_beside_other_cookies(self, gate: Gate) -> None:
        lang = parameter("lang", "cookie")
        await gate.document({"key": COOKIE}, [{"key": []}], parameters=[lang])
        await gate.give("key", value=KEY)

        await gate.call(arguments={"lang": "de"})

        assert gate.company.calls[0].headers["cookie"] == f"lang=de; session={KEY}"

    async def test_basic(self, gate: Gate) -> None:
        await gate.document({"login": BASIC}, [{"login": []}])
        await gate.give("login", username="us", password="canary-pässword:1")

        await gate.call()

        sent = gate.company.calls[0].headers["authorization"]
        assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "us:canary-pässword:1"

    async def test_bearer(self, gate: Gate) -> None:
        await gate.document({"login": BEARER}, [{"login": []}])
        await gate.give("login", value=KEY)

        await gate.call()

        assert gate.company.calls[0].headers["authorization"] == f"Bearer {KEY}"

    async def test_of_swagger_2(self, gate: Gate) -> None:
        port = gate.company.base_url.rpartition(":")[2]
        await gate.imported(
            openapi(
                {"/things": {"get": {"operationId": "listThings"}}},
                "2.0",
                host=f"127.0.0.1:{port}",
                schemes=["http"],
                securityDefinitions={"login": {"type": "basic"}, "key": HEADER},
                security=[{"login": [], "key": []}],
            )
        )
        await gate.give("login", username="us", password="canary-password")
        await gate.give("key", value=KEY)

        await gate.call()

        (call,) = gate.company.calls
        assert call.headers["x-api-key"] == KEY
        assert call.headers["authorization"].startswith("Basic ")

    @pytest.mark.parametrize(
        ("scheme", "reason"),
        [
            ({"type": "mutualTLS"}, "certificate"),
            ({"type": "http", "scheme": "digest"}, "digest"),
            ({"type": "oauth2", "flows": {"implicit": {}}}, "implicit"),
            ({"type": "oauth2", "flows": {"password": {"tokenUrl": "https://x.test"}}}, "password"),
            ({"type": "oauth2", "flows": {"clientCredentials": {}}}, "address"),
            ({"type": "apiKey", "in": "body", "name": "k"}, "where its key is sent"),
            ({"type": "apiKey", "in": "header", "name": "a b"}, "no name"),
            ({"type": "openIdConnect"}, "openIdConnectUrl"),
            ({"type": "magic"}, "magic"),
            ({"$ref": "#/components/securitySchemes/nowhere"}, "not there"),
        ],
    )
    async def test_of_a_kind_that_is_not_supported_is_refused_with_a_reason(
        self, gate: Gate, scheme: dict[str, Any], reason: str
    ) -> None:
        await gate.document({"odd": scheme}, [{"odd": []}])

        (state,) = (await gate.keyring.ring(gate.spec_id)).schemes

        assert state.state == "refused"
        assert reason in (state.reason or "")
        with pytest.raises(InvalidInput, match="cannot be used"):
            await gate.give("odd", value=KEY)
        with pytest.raises(CredentialMissing):
            await gate.call()
        assert gate.company.calls == []


BOTH = {"key": HEADER, "login": BEARER}


class TestCombinations:
    @pytest.mark.parametrize(
        ("security", "given", "sent"),
        [
            ([], ["key", "login"], []),
            (None, ["key"], []),
            ([{}], ["key"], []),
            ([{"key": []}], ["key", "login"], ["key"]),
            ([{"key": []}, {"login": []}], ["key", "login"], ["key"]),
            ([{"key": []}, {"login": []}], ["login"], ["login"]),
            ([{"login": []}, {"key": []}], ["key", "login"], ["login"]),
            ([{"key": [], "login": []}], ["key", "login"], ["key", "login"]),
            ([{"key": [], "login": []}], ["key"], None),
            ([{"key": [], "login": []}, {"key": []}], ["key"], ["key"]),
            ([{"key": []}, {"login": []}], [], None),
            ([{"key": []}, {}], [], []),
            ([{"key": []}, {}], ["key"], ["key"]),
            ([{}, {"key": []}], ["key"], ["key"]),
            ([{"unknown": []}, {"key": []}], ["key"], ["key"]),
            ([{"unknown": []}], ["key"], None),
        ],
    )
    async def test_the_first_way_for_which_all_is_there_is_taken(
        self, gate: Gate, security: Any, given: list[str], sent: list[str] | None
    ) -> None:
        await gate.document(BOTH, security)
        for scheme in given:
            await gate.give(scheme, value=KEY)

        if sent is None:
            with pytest.raises(CredentialMissing):
                await gate.call()
            assert gate.company.calls == []
            return
        await gate.call()

        (call,) = gate.company.calls
        names = {"key": "x-api-key", "login": "authorization"}
        assert [scheme for scheme in BOTH if names[scheme] in call.headers] == sent

    async def test_what_the_whole_document_needs_counts_where_nothing_else_is_said(
        self, gate: Gate
    ) -> None:
        await gate.imported(
            openapi(
                {
                    "/things": {
                        "get": {"operationId": "listThings"},
                        "post": {"operationId": "addThing", "security": []},
                    }
                },
                servers=[{"url": gate.company.base_url}],
                components={"securitySchemes": {"key": HEADER}},
                security=[{"key": []}],
            )
        )
        await gate.give("key", value=KEY)

        await gate.call("listThings")
        await gate.call("addThing")

        assert ["x-api-key" in call.headers for call in gate.company.calls] == [True, False]

    async def test_two_schemes_for_one_header_are_refused(self, gate: Gate) -> None:
        await gate.document({"a": BEARER, "b": BASIC}, [{"a": [], "b": []}])
        await gate.give("a", value=KEY)
        await gate.give("b", username="u", password="canary-password")

        with pytest.raises(CredentialMissing) as refused:
            await gate.call()

        assert "fills the header authorization already" in refused.value.reason


class TestOrigins:
    async def test_a_credential_goes_only_where_it_was_given_for(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)

        async with guarded() as other:
            await gate.operations.set_base_url(gate.spec_id, other.base_url)
            with pytest.raises(CredentialMissing) as refused:
                await gate.call()
            (state,) = (await gate.keyring.ring(gate.spec_id)).schemes

            assert other.calls == []
        assert "set for" in refused.value.reason
        assert state.state == "stale"

    async def test_also_if_one_operation_has_a_server_of_its_own(self, gate: Gate) -> None:
        async with guarded() as other:
            await gate.document({"key": HEADER}, [{"key": []}], servers=[{"url": other.base_url}])
            await gate.give("key", value=KEY)
            with pytest.raises(CredentialMissing):
                await gate.call()
            assert other.calls == []

            await gate.give("key", value=KEY, origins=[gate.company.base_url, other.base_url])
            await gate.call()
            assert other.calls[0].headers["x-api-key"] == KEY

    async def test_a_scheme_that_the_document_changed_needs_it_again(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        await gate.document({"key": HEADER | {"name": "X-Other"}}, [{"key": []}])

        with pytest.raises(CredentialMissing) as refused:
            await gate.call()

        assert "changed" in refused.value.reason
        assert gate.company.calls == []

    async def test_but_not_one_that_is_only_described_anew(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        await gate.document({"key": HEADER | {"description": "The key."}}, [{"key": []}])

        assert (await gate.call()).outcome == "done"

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("https://api.test/v1", "https://api.test"),
            ("https://api.test:443/", "https://api.test"),
            ("https://API.test:8443", "https://api.test:8443"),
            ("http://[::1]:8/x?y", "http://[::1]:8"),
            ("http://user@127.0.0.1", "http://127.0.0.1"),
            ("https://bücher.test", "https://xn--bcher-kva.test"),
        ],
    )
    def test_an_origin_is_scheme_host_and_port(self, url: str, origin: str) -> None:
        assert origin_of(httpx.URL(url)) == origin

    async def test_each_environment_has_its_own(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        async with guarded() as sandbox:
            operations = gate.operations
            await operations.set_environment(gate.spec_id, "sandbox", sandbox.base_url, by="op")
            with pytest.raises(CredentialMissing):
                await gate.call()
            await gate.give("key", value="canary-of-the-sandbox")
            await gate.call()
            spec = await operations.set_environment(gate.spec_id, "live", None, by="op")
            await gate.call()

            assert [call.headers["x-api-key"] for call in sandbox.calls] == [
                "canary-of-the-sandbox"
            ]
        assert [call.headers["x-api-key"] for call in gate.company.calls] == [KEY]
        assert (spec.environment, spec.base_url) == ("live", gate.company.base_url)
        with pytest.raises(InvalidInput, match="no base URL"):
            await operations.set_environment(gate.spec_id, "nowhere", None, by="op")


class TestTheModel:
    @pytest.mark.parametrize(
        "name", ["Authorization", "X-API-Key", "api_key", "X-Auth-Token", "Cookie", "X-App-Secret"]
    )
    async def test_is_never_asked_for_a_credential(self, gate: Gate, name: str) -> None:
        asked = [parameter(name, "header", required=True), parameter("q")]
        await gate.document({}, [], parameters=asked)

        schema = tool_schema((await gate.tool("listThings")).operation)

        assert list(schema["properties"]) == ["q"]

    async def test_cannot_put_a_key_beside_ours(self, gate: Gate) -> None:
        anything = {"name": "filter", "in": "query", "schema": {"type": "object"}}
        crumbs = {"name": "extra", "in": "cookie", "schema": {"type": "object"}}
        await gate.document(
            {"key": QUERY, "crumb": COOKIE},
            [{"key": [], "crumb": []}],
            parameters=[anything, crumbs],
        )
        await gate.give("key", value=KEY)
        await gate.give("crumb", value=KEY)

        await gate.call(
            arguments={
                "filter": {"api key": "mine", "x": "1"},
                "extra": {"session": "mine", "y": "2"},
            }
        )

        (call,) = gate.company.calls
        assert call.query == f"x=1&api%20key={KEY}"
        assert call.headers["cookie"] == f"y=2; session={KEY}"

    async def test_does_not_read_a_key_that_the_api_repeats(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        for key in (KEY, 'canary"quoted\\key/ 1', "canary+&=key"):
            await gate.give("key", value=key)

            welcome = await gate.call()
            gate.company.guard = lambda _: False
            refused = await gate.call()
            gate.company.guard = lambda _: True

            assert "canary" not in welcome.content
            assert "canary" not in refused.content
            assert "[hidden]" in welcome.content
            assert "[hidden]" in refused.content


class TestHeaders:
    async def test_a_fixed_one_and_one_of_the_customer_go_with_every_request(
        self, gate: Gate
    ) -> None:
        await gate.document({}, [])
        await gate.keyring.give_header(gate.spec_id, "X-Tenant", value=KEY, claim=None, by="op")
        await gate.keyring.give_header(
            gate.spec_id, "X-Customer", value=None, claim="customer_id", by="op"
        )

        await gate.call()
        await gate.call(person=BOB)

        sent = [
            (call.headers["x-tenant"], call.headers["x-customer"]) for call in gate.company.calls
        ]
        assert sent == [(KEY, ADA.id), (KEY, BOB.id)]

    async def test_an_unknown_claim_stops_the_call(self, gate: Gate) -> None:
        await gate.document({}, [])
        await gate.keyring.give_header(gate.spec_id, "X-Mail", value=None, claim="email", by="op")

        await gate.call(person=ADA)
        with pytest.raises(CredentialMissing):
            await gate.call(person=BOB)

        assert [call.headers["x-mail"] for call in gate.company.calls] == [ADA.email]

    async def test_a_claim_cannot_bring_a_header_of_its_own(self, gate: Gate) -> None:
        await gate.document({}, [])
        await gate.keyring.give_header(gate.spec_id, "X-Name", value=None, claim="name", by="op")

        with pytest.raises(CredentialMissing):
            await gate.call(person=replace(ADA, name="Ada\r\nX-Admin: yes"))

        assert gate.company.calls == []

    async def test_they_too_go_only_where_they_were_given_for(self, gate: Gate) -> None:
        await gate.document({}, [])
        await gate.keyring.give_header(gate.spec_id, "X-Tenant", value=KEY, claim=None, by="op")
        async with guarded() as other:
            await gate.operations.set_base_url(gate.spec_id, other.base_url)
            with pytest.raises(CredentialMissing):
                await gate.call()
            assert other.calls == []

    @pytest.mark.parametrize(
        "name", ["Host", "content-length", "Transfer-Encoding", "a b", "", "é"]
    )
    async def test_those_that_frame_the_message_are_refused(self, gate: Gate, name: str) -> None:
        await gate.document({}, [])

        with pytest.raises(InvalidInput):
            await gate.keyring.give_header(gate.spec_id, name, value=KEY, claim=None, by="op")

    @pytest.mark.parametrize(
        "more",
        [
            {"value": "a\nb", "claim": None},
            {"value": " a", "claim": None},
            {"value": None, "claim": "shoe_size"},
            {"value": None, "claim": None},
            {"value": "a", "claim": "email"},
        ],
    )
    async def test_what_is_no_value_is_refused(self, gate: Gate, more: dict[str, Any]) -> None:
        await gate.document({}, [])

        with pytest.raises(InvalidInput):
            await gate.keyring.give_header(gate.spec_id, "X-Tenant", by="op", **more)


class TestGiving:
    @pytest.mark.parametrize(
        ("scheme", "given"),
        [
            (HEADER, {}),
            (HEADER, {"value": "canary\r\nX-Admin: yes"}),
            (HEADER, {"value": " canary"}),
            (HEADER, {"value": "canäry"}),
            (COOKIE, {"value": "canary; admin=1"}),
            (BASIC, {"username": "a:b", "password": "canary"}),
            (BASIC, {"password": "canary"}),
            (BASIC, {"username": "a", "password": "can\nary"}),
            (HEADER, {"value": "canary", "origins": ["ftp://x.test"]}),
            (HEADER, {"value": "canary", "origins": ["http://[x"]}),
        ],
    )
    async def test_what_cannot_be_sent_is_refused_without_repeating_it(
        self, gate: Gate, scheme: dict[str, Any], given: dict[str, Any]
    ) -> None:
        await gate.document({"s": scheme}, [{"s": []}])

        with pytest.raises(InvalidInput) as refused:
            await gate.give("s", **given)

        assert "can" not in str(refused.value).replace("cannot", "")

    async def test_shows_only_what_tells_secrets_apart(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        (state,) = (await gate.keyring.ring(gate.spec_id)).schemes
        credential = state.credential
        assert credential is not None

        assert (state.state, credential.shown, credential.set_by) == (
            "set",
            {"hint": "…6789"},
            "op",
        )
        assert KEY not in repr(state)
        await gate.give("key", value="short")
        (state,) = (await gate.keyring.ring(gate.spec_id)).schemes
        assert state.credential is not None
        assert state.credential.shown == {"hint": "…"}

    async def test_a_deleted_one_is_gone(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)

        await gate.keyring.take(gate.spec_id, "key", Kind.SCHEME, by="op")

        with pytest.raises(CredentialMissing):
            await gate.call()
        with pytest.raises(NotFound):
            await gate.keyring.take(gate.spec_id, "key", Kind.SCHEME, by="op")

    async def test_a_row_that_was_moved_or_changed_is_not_used(
        self, gate: Gate, sessions: Sessions
    ) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        for change in (
            {"origins": ["http://evil.test:80"]},
            {"scheme_hash": "0" * 64},
            {"environment": "sandbox"},
            {"owner": "cus_eve"},
            {"sealed": '{"value": "plain"}'},
        ):
            await gate.give("key", value=KEY)
            async with sessions.begin() as session:
                await session.execute(table.update().values(**change))
                row = (await session.execute(table.select())).one()
                await session.execute(table.delete())
            with pytest.raises(SealBroken):
                gate.credentials.open(_credential(row))


class TestRefused:
    @pytest.mark.parametrize("how", ["missing", "refused"])
    async def test_reaches_the_operator(self, gate: Gate, how: str) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        if how == "refused":
            await gate.give("key", value=KEY)
            gate.company.guard = lambda _: False

        with capture_logs() as lines:
            if how == "missing":
                with pytest.raises(CredentialMissing):
                    await gate.call()
            else:
                result = await gate.call()
                assert (result.outcome, result.code) == ("failed", "API_AUTH")
        trouble = (await gate.keyring.ring(gate.spec_id)).trouble

        assert len(gate.company.calls) == (how == "refused")  # not tried again
        (line,) = [line for line in lines if line["event"] == "upstream_auth_failed"]
        assert (line["correlation_id"], line["log_level"]) == ("c-1", "error")
        assert trouble is not None
        assert (trouble.count, trouble.correlation_id) == (1, "c-1")
        assert trouble.operation == "GET /things"
        assert KEY not in str(lines)

    async def test_is_over_when_a_call_is_accepted_again(self, gate: Gate) -> None:
        await gate.document({"key": HEADER}, [{"key": []}])
        await gate.give("key", value=KEY)
        gate.company.guard = lambda _: False
        await gate.call()
        await gate.call()
        before = (await gate.keyring.ring(gate.spec_id)).trouble
        gate.company.guard = lambda _: True
        await gate.call()

        assert before is not None
        assert before.count == 2
        assert (await gate.keyring.ring(gate.spec_id)).trouble is None
