"""The commands: what they print, and that a failure is a sentence and a status."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cli.conftest import KEY
from tests.support.model_endpoint import ModelEndpoint, says
from tests.support.server import settings_of
from tests.support.turns import DOCUMENT
from tests.support.upstream import Upstream, answers
from typer.testing import CliRunner

import smart_support
from smart_support.app.web import create_app
from smart_support.cli import main
from smart_support.cli.commands import cli
from smart_support.identity.people import Role
from smart_support.identity.tokens import Tokens

Environment = Callable[..., dict[str, str]]
Run = Callable[..., Any]


@pytest.fixture
def command(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process; the result has its status and its words."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, **lines: Any) -> Any:
        return CliRunner().invoke(cli, list(words), env=environment(**lines))

    return run


@pytest.fixture
def installed(command: Run, migrated_database: Callable[[], str]) -> Run:
    """The same, on a database of its own."""
    url = migrated_database()

    def run(*words: str, **lines: Any) -> Any:
        return command(*words, DATABASE_URL=url, **lines)

    run.url = url  # type: ignore[attr-defined]
    return run


def test_sign_ins_are_ended_and_written_down(installed: Run) -> None:
    ended = installed("end-sign-ins", "cus_ada", "--role", "customer")
    one = installed("end-sign-ins", "--token", "0a1b")

    with psycopg.connect(installed.url) as connection:  # type: ignore[attr-defined]
        kept = connection.execute("SELECT whose FROM ended_sign_ins ORDER BY whose").fetchall()
        acts = connection.execute(
            "SELECT actor, role, subject FROM audit WHERE act = 'sign_ins_ended' ORDER BY number"
        ).fetchall()

    assert [ended.exit_code, one.exit_code] == [0, 0]
    assert ended.stdout.startswith("Ended: whatever was issued until 20")
    assert kept == [("customer cus_ada",), ("token 0a1b",)]
    assert acts == [
        ("command line", "command_line", "person cus_ada"),
        ("command line", "command_line", "token 0a1b"),
    ]


@pytest.mark.parametrize("words", [[], ["ada", "--token", "t"], ["--token", "t", "--role", "lead"]])
def test_it_must_be_clear_whose_sign_ins_end(command: Run, words: list[str]) -> None:
    refused = command("end-sign-ins", *words)

    assert refused.exit_code == 2
    assert "Give a person" in refused.stderr


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(DOCUMENT | {"servers": [{"url": "http://127.0.0.1:9"}]}))
    return path


def refused(result: Any, *words: str) -> None:
    """A failure in a sentence that has these words, and without a traceback."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("smart-support: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_the_version_is_that_of_the_package(command: Run) -> None:
    result = command("version")

    assert (result.exit_code, result.stdout) == (0, f"{smart_support.__version__}\n")


def test_the_document_is_that_of_the_application_whatever_is_set(command: Run) -> None:
    result = command("openapi", SMART_SUPPORT_PORT="nonsense")

    assert result.exit_code == 0
    app = create_app(settings_of(), lambda: pytest.fail("nothing is opened"))
    assert json.loads(result.stdout) == json.loads(json.dumps(app.openapi()))


def test_help_comes_without_a_command(command: Run) -> None:
    result = command()

    assert "serve" in result.output
    assert "import-spec" in result.output


def test_main_runs_the_command_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["smart-support", "version"])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == smart_support.__version__


class TestSignIn:
    def test_prints_a_token_that_signs_in(self, command: Run) -> None:
        result = command(
            "sign-in", "customer", "cus_7", "--name", "Bo", SMART_SUPPORT_SECRET_KEY=KEY
        )

        person = Tokens(KEY).read(result.stdout.strip()).person
        assert (person.id, person.role, person.name) == ("cus_7", Role.CUSTOMER, "Bo")
        assert person.email is None

    def test_names_a_person_by_the_id_alone(self, command: Run) -> None:
        result = command("sign-in", "lead", "lena", SMART_SUPPORT_SECRET_KEY=KEY)

        assert Tokens(KEY).read(result.stdout.strip()).person.name == "lena"

    def test_keeps_a_key_of_its_own(self, command: Run, tmp_path: Path) -> None:
        first = command("sign-in", "operator", "o")
        key = (tmp_path / "data" / "signing.key").read_text()

        assert Tokens(key).read(first.stdout.strip()).person.role is Role.OPERATOR

    def test_knows_the_roles(self, command: Run) -> None:
        result = command("sign-in", "admin", "root")

        assert result.exit_code == 2
        assert "customer" in result.stderr


class TestSettings:
    def test_a_wrong_line_is_named(self, command: Run) -> None:
        refused(command("migrate", SMART_SUPPORT_PORT="many"), "SMART_SUPPORT_PORT")

    def test_a_wrong_database_is_told_without_its_password(self, command: Run) -> None:
        result = command("migrate", DATABASE_URL="mysql://me:hunter2@127.0.0.1/x")

        refused(result, "DATABASE_URL", "postgresql://")
        assert "hunter2" not in result.stderr

    def test_a_database_that_is_not_there_is_told(self, command: Run) -> None:
        refused(command("migrate", DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/x"))

    def test_a_file_in_place_of_the_folder_is_told(self, command: Run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        for words in (("migrate",), ("serve",), ("sign-in", "lead", "lena")):
            result = command(*words, SMART_SUPPORT_DATA_DIR=tmp_path / "file")
            refused(result, str(tmp_path / "file"))

    def test_a_crash_has_a_status_of_its_own(
        self, command: Run, migrated_database: Callable[[], str]
    ) -> None:
        url = migrated_database()
        with psycopg.connect(url) as connection:
            connection.execute("DROP TABLE specs CASCADE")

        assert command("operations", "Shop", DATABASE_URL=url).exit_code == 70
        with psycopg.connect(url) as connection:
            counted = connection.execute("SELECT code, place, operation FROM outside_errors")
            assert counted.fetchall() == [("SYS_INTERNAL", "cli", "command")]


class TestMigrate:
    def test_brings_an_empty_database_up_to_date(
        self, command: Run, fresh_database: Callable[[], str]
    ) -> None:
        url = fresh_database()

        for _ in range(2):
            result = command("migrate", DATABASE_URL=url)
            assert result.exit_code == 0, result.output
            assert result.stdout.endswith("The database is up to date\n")


class TestSpecs:
    def test_a_document_is_imported_listed_and_decided_about(
        self, installed: Run, document: Path
    ) -> None:
        imported = installed("import-spec", str(document))
        listed = installed("operations", "Shop")
        decided = installed(
            "decide",
            "Shop",
            "getOrder",
            "approve",
            "--agent",
            "orders",
            "--bind",
            "customer_id=customer_id",
            "--reason",
            "reads only",
        )
        again = installed("import-spec", str(document))

        assert imported.exit_code == 0, imported.output
        assert "0 changed, 0 removed, 0 unchanged" in imported.stdout
        assert 'smart-support operations "Shop"' in imported.stdout
        assert "GET /orders/{order_id}  [pending]  Look up an order" in listed.stdout
        assert "    because: GET only reads." in listed.stdout
        assert decided.exit_code == 0, decided.output
        assert "[approved]" in decided.stdout
        assert "agent orders" in decided.stdout
        assert "customer_id is filled with the customer's customer_id" in decided.stdout
        assert "0 added, 0 changed, 0 removed" in again.stdout

    def test_an_operation_is_found_by_its_key_too_and_reopened(
        self, installed: Run, document: Path
    ) -> None:
        installed("import-spec", str(document), "--name", "Mine")

        approved = installed("decide", "Mine", "GET /orders/{order_id}", "approve")
        rejected = installed("decide", "Mine", "GET /orders/{order_id}", "reject")
        reopened = installed("decide", "Mine", "getOrder", "reopen")

        assert "[approved]" in approved.stdout, approved.output
        assert "[rejected]" in rejected.stdout
        assert "[pending]" in reopened.stdout

    def test_every_field_can_be_set_as_by_rest(self, document: Path, installed: Any) -> None:
        installed("import-spec", str(document))
        rule = {"argument": "/body/text", "comparison": "ne", "value": "hi"}
        said = {
            "repeatable": False,
            "idempotency_header": "X-Once",
            "idempotency_lifetime_s": 600,
            "lookup": {"operation": "GET /secrets", "items": "/data", "equal": {"/t": "/key"}},
            "approval_rules": {"thresholds": [rule]},
            "breaker_group": "slow",
            "agent": "notes",
        }
        stored = "SELECT classification FROM operations WHERE tool_name = 'addNote'"

        decided = installed(
            "decide", "Shop", "addNote", "approve", "--set", json.dumps(said), "--agent", "other"
        )

        assert decided.exit_code == 0, decided.output
        with psycopg.connect(installed.url) as connection:
            (kept,) = connection.execute(stored).fetchone() or ({},)
        assert kept["lookup"]["operation"] == "GET /secrets"
        assert kept["approval_rules"]["thresholds"] == [{**rule, "who": "lead"}]
        assert kept["agent"] == "other"
        for name in ("repeatable", "idempotency_header", "idempotency_lifetime_s", "breaker_group"):
            assert kept[name] == said[name]

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ("{", "no JSON"),
            ("[]", "a JSON object"),
            ('{"version": 7}', "no field 'version'"),
            ('{"cacheable_s": -1}', "cacheable_s: "),
            ('{"lookup": {"items": 1}}', "lookup.operation: "),
        ],
    )
    def test_what_cannot_be_set_is_told(self, installed: Run, said: str, words: str) -> None:
        refused(installed("decide", "Shop", "addNote", "approve", "--set", said), words)

    def test_the_clear_reads_are_approved_at_once_and_taken_back(
        self, installed: Run, document: Path
    ) -> None:
        installed("import-spec", str(document))

        approved = installed("approve-reads", "Shop", "--reason", "they only look")
        none_left = installed("approve-reads", "Shop")
        listed = installed("decisions", "Shop")
        batch = approved.stdout.rsplit(" ", 1)[1].strip()
        undone = installed("undo", batch)
        again = installed("undo", batch)

        assert "approved GET /orders/{order_id}" in approved.stdout, approved.output
        assert "POST" not in approved.stdout
        assert "No read waits" in none_left.stdout
        assert "command line approved" in listed.stdout
        assert "they only look" in listed.stdout
        assert f"smart-support undo {batch}" in listed.stdout
        assert "GET /orders/{order_id}  [pending]" in undone.stdout
        refused(again, "last decided by command line")
        refused(installed("undo", "nonsense"), "There are no decisions 'nonsense'")

    def test_a_request_is_shown_and_not_sent(self, installed: Run, document: Path) -> None:
        installed("import-spec", str(document))
        arguments = json.dumps({"order_id": "a/b", "body": {"amount": 20}})

        made_up = installed("dry-run", "Shop", "createRefund")
        given = installed(
            "dry-run", "Shop", "createRefund", "--arguments", arguments,
            "--customer", "customer_id=cus_7",
        )  # fmt: skip

        assert "POST http://127.0.0.1:9/orders/order_id/refunds?customer_id=customer-1" in (
            made_up.stdout
        ), made_up.output
        assert "/orders/a%2Fb/refunds?customer_id=cus_7" in given.stdout
        assert "Idempotency-Key: (made when it is sent)" in given.stdout
        assert given.stdout.endswith('{"amount":20}\n')
        refused(installed("dry-run", "Shop", "createRefund", "--arguments", "{}"), "required")
        for wrong in ("[]", "{"):
            assert installed("dry-run", "Shop", "x", "--arguments", wrong).exit_code == 2

    def test_what_a_new_version_changed_is_said(self, installed: Run, document: Path) -> None:
        installed("import-spec", str(document))
        installed("approve-reads", "Shop")
        changed = json.loads(document.read_text())
        changed["paths"]["/orders/{order_id}"]["get"]["x-openai-isConsequential"] = True
        document.write_text(json.dumps(changed))

        again = installed("import-spec", str(document))

        assert "1 break calls as before, 1 were reads" in again.stdout, again.output
        assert "breaks: access changed: read -> write" in installed("operations", "Shop").stdout

    def test_an_address_can_be_given(self, installed: Run, tmp_path: Path) -> None:
        path = tmp_path / "bare.json"
        path.write_text(json.dumps(DOCUMENT))

        bare = installed("import-spec", str(path))
        refusal = installed("decide", "Shop", "getOrder", "approve")
        wrong = installed("import-spec", str(path), "--base-url", "nowhere")
        given = installed("import-spec", str(path), "--base-url", "http://127.0.0.1:9/")
        approved = installed("decide", "Shop", "getOrder", "approve")

        assert "set it with --base-url" in bare.stdout
        refused(refusal, "base URL")
        refused(wrong, "'nowhere' is no http or https URL")
        assert "--base-url" not in given.stdout
        assert "[approved]" in approved.stdout

    def test_what_is_left_out_is_said(self, installed: Run, tmp_path: Path) -> None:
        broken = {"parameters": [{"name": "x", "in": "query", "schema": {"enum": ["\x00"]}}]}
        path = tmp_path / "half.json"
        path.write_text(json.dumps(DOCUMENT | {"paths": {"/bad": {"get": broken}}}))

        result = installed("import-spec", str(path))

        assert "left out: GET /bad (line 1): " in result.stdout, result.output

    def test_files_that_belong_together_are_imported_together(
        self, installed: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts/orders.json").write_text(json.dumps({"get": {"operationId": "far"}}))
        paths = {"/far": {"$ref": "parts/orders.json"}}
        (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT | {"paths": paths}))

        whole = installed("import-spec", str(tmp_path))
        one = installed("import-spec", str(tmp_path / "openapi.json"))

        assert "1 added" in whole.stdout, whole.output
        assert "0 changed, 0 removed, 1 unchanged" in one.stdout, one.output

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("operations", "Nobody"), "No document is imported as 'Nobody'"),
            (("decide", "Shop", "noSuchTool", "approve"), "0 operations of Shop"),
            (("decide", "Shop", "addNote", "approve", "--bind", "x=customer_id"), "x"),
        ],
    )
    def test_what_is_not_there_is_told(
        self, installed: Run, document: Path, words: tuple[str, ...], said: str
    ) -> None:
        installed("import-spec", str(document))

        refused(installed(*words), said)

    @pytest.mark.parametrize("binding", ["customer_id", "=x", "x=", ""])
    def test_a_binding_that_is_none_is_a_wrong_word(self, installed: Run, binding: str) -> None:
        result = installed("decide", "Shop", "getOrder", "approve", "--bind", binding)

        assert result.exit_code == 2
        assert "ARGUMENT=CLAIM" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        ("content", "said"),
        [(b"", "empty"), (b"{", "line"), (b"just words", "OpenAPI"), (b"x" * 2_000, "")],
    )
    def test_what_is_no_document_is_refused(
        self, installed: Run, tmp_path: Path, content: bytes, said: str
    ) -> None:
        path = tmp_path / "odd.json"
        path.write_bytes(content)

        result = installed("import-spec", str(path), SMART_SUPPORT_SPEC_MAX_BYTES=1_000)

        refused(result, str(path), said)

    def test_a_file_that_is_not_there_is_told(self, installed: Run, tmp_path: Path) -> None:
        refused(installed("import-spec", str(tmp_path / "none.json")), "No such file")
        refused(installed("import-spec", str(tmp_path)), "no file in it")

    async def test_a_document_is_fetched_from_its_address(self, installed: Run) -> None:
        async with Upstream() as site:
            site.queue(answers(DOCUMENT), answers(b"", status=404))
            found = await asyncio.to_thread(installed, "import-spec", f"{site.base_url}/shop.json")
            missing = await asyncio.to_thread(installed, "import-spec", f"{site.base_url}/none")

        assert "Imported 'Shop'" in found.stdout, found.output
        refused(missing, "status 404")


async def test_the_model_gives_a_second_opinion_where_it_may(
    installed: Run, document: Path
) -> None:
    said = says(json.dumps({"access": "write", "risk": "high", "reason": "It may."}))
    async with ModelEndpoint() as model:
        lines = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": model.base_url}
        on = {**lines, "SMART_SUPPORT_MODEL_ADVISES": "true"}
        await asyncio.to_thread(installed, "import-spec", str(document), "--name", "Shop")
        count = (await asyncio.to_thread(installed, "operations", "Shop")).stdout.count("[pending]")

        off = await asyncio.to_thread(installed, "advise", "Shop", **lines)
        nowhere = await asyncio.to_thread(installed, "advise", "Nowhere", **on)
        model.queue(*[said] * (count - 1), says("I cannot say."))
        asked = await asyncio.to_thread(installed, "advise", "Shop", **on)
        now = await asyncio.to_thread(installed, "operations", "Shop")

    refused(off, "SMART_SUPPORT_MODEL_ADVISES")
    refused(nowhere, "'Nowhere'")
    assert count > 1
    assert len(model.requests) == count
    assert asked.stdout.count("no answer on ") == 1
    assert f"Asked about {count}; {count - 1} suggestions have" in asked.stdout
    assert now.stdout.count("because: write, high risk: It may.") == count - 1


async def test_a_taken_port_is_told(environment: Environment, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "smart_support",
            "serve",
            env=environment(SMART_SUPPORT_PORT=port),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert f"port {port}" in err.decode()
    assert "SMART_SUPPORT_PORT" in err.decode()
    assert "Traceback" not in err.decode()
    assert out == b""
    assert not (tmp_path / "data").exists()
