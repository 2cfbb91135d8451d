"""The kill switch from the command line, on the database that the server uses."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr
from tests.support.server import settings_of
from tests.support.turns import import_shop

from smart_support.app.commands import open_switches
from smart_support.cli import specs
from smart_support.errors import InvalidInput, NotFound
from smart_support.ledger.stops import StopScope
from smart_support.settings import Settings


@pytest.fixture
async def settings(migrated_database: Callable[[], str]) -> Settings:
    url = migrated_database()
    async with open_switches(url) as (operations, _):
        await import_shop(operations, "http://127.0.0.1:1")
    return settings_of(database_url=SecretStr(url))


@pytest.mark.parametrize(
    ("name", "key", "scope", "title"),
    [
        (None, None, StopScope.EVERYTHING, "Everything"),
        ("shop", None, StopScope.API, "shop"),
        ("shop", "POST /notes", StopScope.OPERATION, "POST /notes"),
        ("shop", "addNote", StopScope.OPERATION, "POST /notes"),
    ],
)
async def test_switches_off_and_on(
    settings: Settings, name: str | None, key: str | None, scope: StopScope, title: str
) -> None:
    stop = await specs.switch_off(settings, name, key, reason="it misbehaves")

    assert (stop.scope, stop.title, stop.stopped_by) == (scope, title, "command line")
    assert await specs.list_stops(settings) == (stop,)
    assert f"{title}: off since" in specs.stop_described(stop)
    lifted = await specs.switch_on(settings, stop.id, reason="mended")
    assert "on again since" in specs.stop_described(lifted)


async def test_what_is_not_there_cannot_be_switched(settings: Settings) -> None:
    with pytest.raises(NotFound):
        await specs.switch_off(settings, "other", None, reason="because")
    with pytest.raises(InvalidInput):
        await specs.switch_off(settings, "shop", "GET /nothing", reason="because")
    with pytest.raises(InvalidInput):
        await specs.switch_on(settings, "7", reason="because")
