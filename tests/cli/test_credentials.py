"""Credentials from a terminal: read from standard input, never told again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.operations.documents import openapi
from typer.testing import CliRunner

from smart_support.cli.commands import cli
from smart_support.cli.credentials import check_described
from smart_support.security.sealing import new_key, parse_keys
from smart_support.tools.credential_check import Checked

CANARY = "canary-0123456789"


@pytest.fixture
def keyed(
    environment: Callable[..., dict[str, str]],
    migrated_database: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Run commands on a database that has a document with two schemes; and its URL."""
    monkeypatch.chdir(tmp_path)
    url = migrated_database()
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "login": {"type": "http", "scheme": "basic"},
    }
    document = openapi(
        {"/things": {"get": {"operationId": "listThings", "security": [{"key": []}]}}},
        servers=[{"url": "http://127.0.0.1:9"}],
        components={"securitySchemes": schemes},
    )
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(document))

    def invoke(*words: str, typed: str = "", **lines: Any) -> Any:
        lines = environment(DATABASE_URL=url, **lines)
        return CliRunner().invoke(cli, list(words), env=lines, input=typed)

    def run(*words: str, **more: Any) -> Any:
        return invoke("credentials", *words, **more)

    assert invoke("import-spec", str(path), "--name", "Shop").exit_code == 0
    return run, url


def refused(result: Any, *words: str) -> None:
    """A failure in a sentence that has these words and no secret."""
    assert result.exit_code == 1, result.output
    assert all(word in result.output for word in words), result.output
    assert "canary" not in result.output


def test_a_secret_is_read_from_standard_input_and_only_its_end_is_shown(keyed: Any) -> None:
    run, url = keyed

    before = run("list", "Shop").output
    given = run("set", "Shop", "key", typed=f"{CANARY}\n")
    after = run("list", "Shop").output

    assert "key  [missing]  apiKey, 1 operations" in before
    assert given.exit_code == 0, given.output
    assert "key  [set]" in after
    assert "…6789 set by command line" in after
    assert "http://127.0.0.1:9 alone" in after
    assert "canary" not in given.output + after
    with psycopg.connect(url) as connection:
        assert "canary" not in str(connection.execute("SELECT * FROM credentials").fetchall())


def test_what_is_not_given_or_not_known_is_said(keyed: Any) -> None:
    run, _ = keyed

    refused(run("set", "Shop", "key", typed=""), "No api key was given")
    refused(run("set", "Shop", "nowhere", typed=CANARY), "'nowhere'", "key, login")
    refused(run("set", "Shop", "login", typed=CANARY), "username")


def test_headers_and_credentials_can_be_deleted(keyed: Any) -> None:
    run, _ = keyed
    run("set", "Shop", "login", "--username", "shop", typed=CANARY)
    run("header", "Shop", "X-Tenant", typed=CANARY)
    run("header", "Shop", "X-Customer", "--claim", "customer_id")
    there = run("list", "Shop").output

    for name in ("login", "X-Tenant"):
        assert run("delete", "Shop", name).exit_code == 0
    left = run("list", "Shop").output

    assert "login  [set]" in there
    assert "header x-tenant: fixed …6789" in there
    assert "login  [missing]" in left
    assert "x-tenant" not in left
    assert "header x-customer: the customer's customer_id" in left


def test_environments_are_added_changed_and_chosen(keyed: Any) -> None:
    run, _ = keyed
    run("set", "Shop", "key", typed=CANARY)

    added = run("environment", "Shop", "sandbox", "--base-url", "http://127.0.0.1:8/")
    changed = run("environment", "Shop", "sandbox", "--base-url", "http://127.0.0.1:7")
    before = run("list", "Shop").output
    chosen = run("environment", "Shop", "sandbox", "--choose")
    after = run("list", "Shop").output
    listed = run("environments", "Shop")

    assert added.output == "* live: http://127.0.0.1:9\n  sandbox: http://127.0.0.1:8\n"
    assert changed.output == "* live: http://127.0.0.1:9\n  sandbox: http://127.0.0.1:7\n"
    assert chosen.output == "  live: http://127.0.0.1:9\n* sandbox: http://127.0.0.1:7\n"
    assert listed.output == chosen.output
    assert ("key  [set]" in before, "key  [missing]" in after) == (True, True)


def test_an_environment_that_cannot_be_called_is_not_chosen(keyed: Any) -> None:
    run, _ = keyed

    refused(run("environment", "Shop", "sandbox", "--choose"), "'sandbox'", "no base URL")
    refused(run("environment", "Shop", "sandbox"), "--base-url", "--choose")
    refused(run("environment", "Shop", "No Name", "--base-url", "http://127.0.0.1:8"), "no name")
    refused(run("environment", "Shop", "sandbox", "--base-url", "file:///x"), "no http")

    assert run("environments", "Shop").output == "* live: http://127.0.0.1:9\n"


def test_the_key_is_changed_without_losing_anything(keyed: Any) -> None:
    run, _ = keyed
    old, new = new_key(), run("new-key").output.strip()
    parse_keys(new)
    run("set", "Shop", "key", typed=CANARY, SMART_SUPPORT_SEALING_KEYS=old)

    resealed = run("reseal", SMART_SUPPORT_SEALING_KEYS=f"{new},{old}").output
    again = run("reseal", SMART_SUPPORT_SEALING_KEYS=new)
    lost = run("reseal", SMART_SUPPORT_SEALING_KEYS=new_key())

    assert resealed == "Sealed anew: 1\n"
    assert again.output == "Sealed anew: 0\n"
    refused(lost, "SMART_SUPPORT_SEALING_KEYS")


def test_a_credential_is_tried_out_and_the_command_fails_unless_it_is_accepted(keyed: Any) -> None:
    run, _ = keyed
    run("set", "Shop", "key", typed=CANARY)

    nothing = run("test", "Shop", "key")
    unknown = run("test", "Shop", "key", "--operation", "GET /else", "--arguments", "{}")
    broken = run("test", "Shop", "key", "--arguments", "[]")

    refused(nothing, "No approved read without required arguments")
    refused(unknown, "GET /else is no approved read of Shop")
    assert broken.exit_code == 2


def test_what_came_of_a_try_is_told_in_three_lines() -> None:
    checked = Checked(
        result="refused", asked="GET /things", status=401, said="No.", correlation_id="c-1"
    )

    assert list(check_described(checked)) == [
        "refused: GET /things (401)", "    No.", "    correlation id c-1",
    ]  # fmt: skip
