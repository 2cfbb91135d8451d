"""What the settings page shows: each dependency looked at by itself, and no secret."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.support.server import ADA, LEAD, OPERATOR, Server, logged, running, settings_of

from smart_support import __version__
from smart_support.api.installation import (
    LIMITS,
    MOST_APIS,
    Check,
    Dependency,
    limits_of,
    look_at,
    without_credentials,
)
from smart_support.errors import DatabaseUnavailable
from smart_support.settings import Settings


async def details(server: Server) -> dict[str, list[dict[str, object]]]:
    answer = await server.http(OPERATOR).get("/api/health/details")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[dict[str, object]]] = answer.json()
    return found


async def add_api(server: Server, name: str, base_url: str) -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "servers": [{"url": base_url}],
        "paths": {"/x": {"get": {"responses": {"200": {"description": "x"}}}}},
    }
    answer = await server.http(OPERATOR).post("/api/specs", params={"name": name}, json=document)
    assert answer.status_code == 201, answer.text


@contextlib.asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says `answer` to whatever it is asked, or nothing; and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def says(status: int) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


async def test_shows_what_everything_depends_on(server: Server) -> None:
    spec = await server.import_company("Company")

    found = await details(server)

    assert found["version"] == __version__
    assert str(found["revision"]) >= "0003"
    database, model, company = found["dependencies"]
    assert (database["kind"], database["status"], database["reason"]) == ("database", "ok", None)
    assert (model["kind"], model["status"]) == ("model", "ok")
    assert model["address"] == server.model.base_url
    assert (company["kind"], company["name"], company["status"]) == ("api", "Company", "ok")
    assert company["address"] == spec["base_url"] == server.company.base_url
    assert all(isinstance(each["latency_ms"], float) for each in found["dependencies"])
    assert [limit["name"] for limit in found["limits"]] == [name.upper() for name in LIMITS]


async def test_an_api_that_hangs_fails_or_is_gone_is_only_its_own_trouble(
    migrated_database: Callable[[], str],
) -> None:
    async with (
        running(migrated_database()) as server,
        listening(None) as (hanging, _),
        listening(says(503)) as (broken, _),
        listening(says(404)) as (there, asked),
    ):
        async with listening(None) as (gone, _):
            pass
        await add_api(server, "1 hanging", hanging)
        await add_api(server, "2 broken", broken)
        await add_api(server, "3 there", there.replace("http://", "http://me:hush@"))
        await add_api(server, "4 gone", gone)

        answer = await server.http(LEAD).get("/api/health/details")

        apis = {each["name"]: each for each in answer.json()["dependencies"][2:]}
        states = {name: (each["status"], each["reason"]) for name, each in apis.items()}
        assert states == {
            "1 hanging": ("failing", "No answer within 3 s."),
            "2 broken": ("failing", "It answered 503."),
            "3 there": ("ok", None),
            "4 gone": ("failing", "It cannot be reached (ConnectError)."),
        }
        assert apis["3 there"]["latency_ms"] < 3_000
        assert apis["3 there"]["address"] == there
        assert asked[0].startswith(b"HEAD / ")
        assert b"authorization" not in asked[0].lower()
        assert "hush" not in answer.text
        assert answer.json()["dependencies"][0]["status"] == "ok"


async def test_a_model_that_refuses_the_key_is_named(
    migrated_database: Callable[[], str],
) -> None:
    async with listening(says(401)) as (base, asked):
        chosen = {
            "openai_api_key": SecretStr("sk-very-secret"),
            "openai_base_url": f"{base.replace('//', '//user:word@')}/v1",
        }
        async with running(migrated_database(), **chosen) as server:
            answer = await server.http(OPERATOR).get("/api/health/details")

    model = answer.json()["dependencies"][1]
    assert (model["status"], model["reason"]) == (
        "failing",
        "model endpoint refuses the key (401)",
    )
    assert model["address"] == f"{base}/v1"
    assert asked[0].startswith(b"GET /v1/models ")
    for secret in ("sk-very-secret", "word", "a key of this test run"):
        assert secret not in answer.text


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, None),
        (405, None),
        (429, "model endpoint answered 429: "),
        (500, "model endpoint answered 500: "),
    ],
)
async def test_a_model_endpoint_without_a_list_is_there(
    migrated_database: Callable[[], str], status: int, reason: str | None
) -> None:
    async with (
        listening(says(status)) as (base, _),
        running(migrated_database(), openai_base_url=base) as server,
    ):
        model = (await details(server))["dependencies"][1]

    assert model["reason"] == reason


async def test_a_model_that_is_gone_or_silent_is_said(
    migrated_database: Callable[[], str],
) -> None:
    async with (
        listening(None) as (silent, _),
        running(migrated_database(), openai_base_url=silent) as server,
    ):
        hung = (await details(server))["dependencies"][1]
    async with running(migrated_database(), openai_base_url=silent) as server:
        gone = (await details(server))["dependencies"][1]

    assert str(hung["reason"]) in {"no answer in time", "No answer within 3 s."}
    assert gone["reason"] == "cannot be reached: ConnectError"


async def test_the_offline_model_has_no_address(migrated_database: Callable[[], str]) -> None:
    async with running(migrated_database(), offline=True) as server:
        found = await details(server)

    model = found["dependencies"][1]
    assert (model["status"], model["address"]) == ("ok", None)
    assert found["model"] == {"name": model["name"], "offline": True}


async def test_an_api_without_an_address_is_not_checked(
    migrated_database: Callable[[], str],
) -> None:
    async with running(migrated_database()) as server:
        await add_api(server, "Nowhere", "/relative")
        api = (await details(server))["dependencies"][2]

    assert (api["status"], api["latency_ms"]) == ("not_checked", None)
    assert "no base URL" in str(api["reason"])


async def test_looks_at_a_bounded_number_of_apis(migrated_database: Callable[[], str]) -> None:
    async with running(migrated_database()) as server:
        for number in range(MOST_APIS + 1):
            await add_api(server, f"{number:02}", server.company.base_url)
        apis = (await details(server))["dependencies"][2:]

    assert len(apis) == MOST_APIS + 1
    assert [api["status"] for api in apis].count("not_checked") == 1


async def test_a_database_that_is_gone_is_said_and_the_model_still_looked_at(
    server: Server,
) -> None:
    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("no connection to PostgreSQL")

    checks = [
        Check(kind="database", name="PostgreSQL", address=None, look=fail),
        Check(kind="model", name="m", address=None, look=lambda: server.parts.check_model(3.0)),
    ]

    database, model = await look_at(checks, within=3.0)

    assert (database.status, database.reason) == ("failing", "no connection to PostgreSQL")
    assert model.status == "ok"


async def test_one_that_hangs_delays_nobody_past_its_time() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def crash() -> None:
        raise ZeroDivisionError

    async def fine() -> None:
        return

    def check(name: str, look: Callable[[], Awaitable[None]]) -> Check:
        return Check(kind="api", name=name, address=None, look=look)

    with logged() as lines:
        found = await look_at(
            [check("hang", hang), check("crash", crash), check("fine", fine), check("2", hang)],
            within=0.05,
        )

    hung, crashed, well, second = found
    assert (hung.status, hung.reason) == ("failing", "No answer within 0.05 s.")
    assert (crashed.status, crashed.reason) == ("failing", "The check itself failed; see the log.")
    assert (well.status, well.reason) == ("ok", None)
    assert (well.latency_ms or 0) < 50 <= (second.latency_ms or 0) < 1_000
    assert [line["event"] for line in lines] == ["health_check_crashed"]


async def test_cancelling_passes() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def looking() -> list[Dependency]:
        check = Check(kind="api", name="x", address=None, look=hang)
        return await look_at([check], within=60)

    task = asyncio.create_task(looking())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_is_for_staff(server: Server) -> None:
    async def status(client: httpx.AsyncClient) -> int:
        return (await client.get("/api/health/details")).status_code

    assert await status(server.http()) == 401
    assert await status(server.http(ADA)) == 403
    assert await status(server.http(LEAD)) == 200


@given(secret=st.text("abcxyz09", min_size=12, max_size=20))
def test_shows_no_secret_setting(secret: str) -> None:
    settings = settings_of(
        database_url=SecretStr(secret),
        openai_api_key=SecretStr(secret),
        smart_support_secret_key=SecretStr(secret * 3),
    )

    shown = limits_of(settings)

    assert secret not in str([limit.model_dump() for limit in shown])
    secrets = {name for name, field in Settings.model_fields.items() if "Secret" in str(field)}
    assert secrets >= {"database_url", "openai_api_key", "smart_support_secret_key"}
    assert not secrets & set(LIMITS)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example.test/v1", "https://api.example.test/v1"),
        ("https://user:word@api.example.test:8443/v1", "https://api.example.test:8443/v1"),
        ("https://api.example.test/?key=hush#part", "https://api.example.test/"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
