"""The commands that the documents show: each is one that exists, and the import guide's are run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from smart_support.cli.commands import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> list[list[str]]:
    """The words of every `smart-support` command in the page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if "smart-support " in line]
    commands = []
    for line in words:
        for at, word in enumerate(line):
            if word.rpartition("/")[2] == "smart-support":
                commands.append(line[at + 1 :])
                break
    return commands


SHOWN = [
    pytest.param(command, id=f"{page.name}: {' '.join(command)}")
    for page in PAGES
    for command in shown(page)
]


@pytest.mark.parametrize("command", SHOWN)
def test_each_command_is_one_that_exists_with_options_that_it_takes(command: list[str]) -> None:
    group = typer.main.get_command(cli)
    name, *arguments = command

    with group.make_context("smart-support", [name], resilient_parsing=True) as context:
        found = group.get_command(context, name)  # type: ignore[attr-defined]
        assert found is not None
        found.make_context(name, list(arguments), parent=context).close()


def test_every_target_that_is_shown_is_one_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {
        target
        for page in PAGES
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }

    assert targets >= {"run", "test"}
    assert [one for one in sorted(targets) if f"\n{one}:" not in makefile] == []


class TestTheImportGuide:
    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        made = Path(tempfile.mkdtemp(prefix="ssg-"))
        document = json.dumps(self.document())
        (made / "orders.yaml").write_text(document)
        (made / "specs").mkdir()
        (made / "specs" / "orders.yaml").write_text(document)
        with zipfile.ZipFile(made / "specs.zip", "w") as archive:
            archive.writestr("api/orders.yaml", document)
            archive.writestr("api/more.yaml", document)
        yield made
        shutil.rmtree(made)

    def document(self) -> dict[str, object]:
        order = {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string"}}
        customer = {"name": "customer_id", "in": "query", "schema": {"type": "string"}}
        done = {"responses": {"200": {"description": "Done"}}}
        return {
            "openapi": "3.1.0",
            "info": {"title": "Orders", "version": "1"},
            "servers": [{"url": "https://orders.example.com"}],
            "paths": {
                "/orders/{order_id}": {
                    "parameters": [order, customer],
                    "get": {"operationId": "getOrder", **done},
                    "delete": {"operationId": "deleteOrder", **done},
                },
                "/orders/{order_id}/refunds": {
                    "parameters": [order],
                    "post": {"operationId": "createRefund", **done},
                },
            },
        }

    def test_its_commands_do_what_it_says(self, folder: Path) -> None:
        commands = [
            command
            for command in shown(ROOT / "docs" / "importing-apis.md")
            if not any("https://api.example.com" in word for word in command)
        ]
        environment = os.environ | {"SMART_SUPPORT_DATA_DIR": str(folder / "data")}

        said = ""
        for command in commands:
            ran = subprocess.run(
                [sys.executable, "-m", "smart_support", *command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ran.returncode == 0, (command, ran.stderr)
            said += ran.stdout

        assert "3 added" in said
        assert "GET /orders/{order_id}  [approved]" in said
        assert "customer_id is filled with the customer's customer_id" in said
        assert "DELETE /orders/{order_id}  [rejected]" in said
