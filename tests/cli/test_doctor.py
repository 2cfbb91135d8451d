"""What the doctor says of an installation: how each thing is, and what to do about it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tests.support.model_endpoint import ModelEndpoint
from tests.support.server import settings_of
from tests.support.turns import DOCUMENT
from tests.support.upstream import Upstream, answers

from smart_support.app.commands import open_operations
from smart_support.cli.doctor import Finding, examine
from smart_support.database.engine import open_engine
from smart_support.database.schema import newest_revision
from smart_support.errors import SetupError
from smart_support.operations.importing import import_document
from smart_support.settings import Settings


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since the embedded server's socket may lie in it."""
    made = Path(tempfile.mkdtemp(prefix="ssd-"))
    yield made
    shutil.rmtree(made)


async def found(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding async for finding in examine(lambda: settings)}


class TestSettingsAndFiles:
    async def test_a_wrong_line_is_named_and_ends_it(self) -> None:
        def broken() -> Settings:
            raise SetupError("SMART_SUPPORT_PORT: not a number")

        findings = [finding async for finding in examine(broken)]

        assert [(one.subject, one.state) for one in findings] == [("settings", "wrong")]
        assert "SMART_SUPPORT_PORT" in findings[0].said

    async def test_an_installation_that_was_never_started_is_well(self, folder: Path) -> None:
        findings = await found(settings_of(smart_support_data_dir=folder / "data"))

        assert {one.state for one in findings.values()} <= {"ok", "note", "wrong"}
        assert findings["data folder"].state == "ok"
        assert findings["database"].said == "there is none yet; the first start makes it"
        assert "offline model" in findings["model"].said
        assert not (folder / "data" / "postgres").exists()  # looking makes nothing

    async def test_a_file_in_the_place_of_the_folder(self, folder: Path) -> None:
        (folder / "data").write_text("")

        findings = await found(settings_of(smart_support_data_dir=folder / "data"))

        assert findings["data folder"].state == "wrong"
        assert "SMART_SUPPORT_DATA_DIR" in findings["data folder"].said

    async def test_a_key_that_is_too_short(self, folder: Path) -> None:
        (folder / "signing.key").write_text("short")
        settings = settings_of(smart_support_data_dir=folder, smart_support_secret_key=None)

        assert "too short" in (await found(settings))["data folder"].said

    async def test_a_port_that_is_taken_may_be_the_server_itself(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            findings = await found(
                settings_of(smart_support_data_dir=folder, smart_support_port=port)
            )

        assert findings["port"].state == "note"
        assert str(port) in findings["port"].said

    async def test_an_agents_file_that_is_missing(self, folder: Path) -> None:
        findings = await found(
            settings_of(
                smart_support_data_dir=folder, smart_support_agents_file=folder / "none.yaml"
            )
        )

        assert findings["agents"].state == "wrong"
        assert "cannot be read" in findings["agents"].said


class TestTheModel:
    async def test_one_that_answers(self, folder: Path) -> None:
        async with ModelEndpoint() as endpoint:
            findings = await found(
                settings_of(
                    smart_support_data_dir=folder,
                    openai_base_url=endpoint.base_url,
                    openai_api_key=SecretStr("sk-a-key-of-a-test"),
                )
            )

        assert findings["model gpt-4.1-mini"].state == "ok"

    async def test_one_that_is_not_there_and_never_the_key(self, folder: Path) -> None:
        findings = await found(
            settings_of(
                smart_support_data_dir=folder,
                openai_base_url="http://127.0.0.1:1/v1",
                openai_api_key=SecretStr("sk-a-key-of-a-test"),
            )
        )

        model = findings["model gpt-4.1-mini"]
        assert model.state == "wrong"
        assert "OPENAI_BASE_URL" in model.said
        assert "sk-a-key" not in "".join(one.said for one in findings.values())


class TestTheDatabase:
    @pytest.fixture
    async def url(self, migrated_database: Callable[[], str]) -> str:
        return migrated_database()

    @pytest.fixture
    async def company(self) -> AsyncIterator[Upstream]:
        async with Upstream() as company:
            yield company

    def settings(self, url: str, folder: Path, **chosen: object) -> Settings:
        return settings_of(database_url=SecretStr(url), smart_support_data_dir=folder, **chosen)

    async def test_one_that_cannot_be_reached(self, folder: Path) -> None:
        findings = await found(self.settings("postgresql://x@127.0.0.1:1/none", folder))

        assert findings["database"].state == "wrong"
        assert "operations" not in findings

    async def test_one_that_was_never_migrated_is_told_what_will_happen(
        self, folder: Path, fresh_database: Callable[[], str]
    ) -> None:
        database = (await found(self.settings(fresh_database(), folder)))["database"]

        assert database.state == "note"
        assert "smart-support migrate" in database.said
        assert str(newest_revision()) in database.said

    async def test_one_that_takes_no_rows(self, url: str, folder: Path) -> None:
        engine = open_engine(url)
        async with engine.begin() as connection:
            name = await connection.scalar(sa.text("SELECT current_database()"))
            await connection.execute(
                sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            )
        await engine.dispose()

        database = (await found(self.settings(url, folder)))["database"]

        assert database.state == "wrong"
        assert "cannot be written" in database.said

    async def test_nothing_imported_means_that_the_agent_can_only_talk(
        self, url: str, folder: Path
    ) -> None:
        findings = await found(self.settings(url, folder))

        assert findings["database"].state == "ok"
        assert findings["operations"].state == "note"
        assert "import-spec" in findings["operations"].said

    async def test_agents_are_held_against_what_is_imported(self, url: str, folder: Path) -> None:
        path = folder / "agents.yaml"
        path.write_text("agents: [{name: a, purpose: x, operations: [launchRocket]}]")

        findings = await found(self.settings(url, folder, smart_support_agents_file=path))

        assert findings["agents"].state == "wrong"
        assert "launchRocket" in findings["agents"].said

    async def test_each_api_is_looked_at(self, url: str, folder: Path, company: Upstream) -> None:
        company.queue(answers(b"{}"))
        async with open_operations(url) as operations:
            for name, address in (("Here", company.base_url), ("Gone", "http://127.0.0.1:1")):
                imported = await import_document(
                    operations,
                    json.dumps(DOCUMENT).encode(),
                    source=name,
                    name=name,
                    by="test",
                    max_bytes=1_000_000,
                )
                await operations.set_base_url(imported.spec.id, address)

        findings = await found(self.settings(url, folder))

        assert findings["API Here"].state == "ok"
        assert findings["API Gone"].state == "wrong"
        assert "base URL" in findings["API Gone"].said


def test_the_command_says_it_and_exits_accordingly(folder: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "SMART_SUPPORT_DATA_DIR": str(folder / "data"),
        "SMART_SUPPORT_PORT": "0",
    }

    def run(**chosen: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "smart_support", "doctor"],
            env=environment | chosen,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    wrong = run(SMART_SUPPORT_PORT="many")

    assert wrong.returncode == 1
    assert "SMART_SUPPORT_PORT" in wrong.stdout
    assert "Traceback" not in wrong.stdout + wrong.stderr
