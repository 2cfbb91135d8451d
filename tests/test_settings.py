"""Every setting: what it is by default, what it refuses, and that secrets stay secret."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from smart_support.errors import SetupError
from smart_support.settings import Settings, read_settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / ".env.example"
LINES = sorted(name.upper() for name in Settings.model_fields)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without a line of ours, in a folder without a `.env`."""
    for line in LINES:
        monkeypatch.delenv(line, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default_that_works() -> None:
    settings = read_settings()

    assert settings.database_url is None
    assert settings.openai_api_key is None
    assert settings.smart_support_host == "127.0.0.1"
    assert settings.smart_support_port == 8000
    assert settings.smart_support_spec_max_bytes == 64 * 1024 * 1024
    assert (settings.smart_support_message_limit, settings.smart_support_message_window) == (10, 10)


@pytest.mark.parametrize("line", LINES)
def test_every_line_says_what_it_is_for(line: str) -> None:
    description = Settings.model_fields[line.lower()].description

    assert description
    assert description.endswith(".")


@pytest.mark.parametrize("line", LINES)
def test_an_empty_line_is_no_line(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv(line, "")

    assert read_settings() == Settings(_env_file=None)


WRONG = {
    "SMART_SUPPORT_PORT": ["http", "-1", "65536", "80.5"],
    "SMART_SUPPORT_SECRET_KEY": ["too short"],
    "SMART_SUPPORT_LOG_LEVEL": ["LOUD", "info"],
    "SMART_SUPPORT_LOG_FORMAT": ["xml"],
    "SMART_SUPPORT_SPEC_MAX_BYTES": ["0", "64MB"],
    "SMART_SUPPORT_MESSAGE_LIMIT": ["0", "many"],
    "SMART_SUPPORT_REST_LIMIT": ["300", "0/minute", "often", "300/fortnight", "5/minute;9/day"],
    "SMART_SUPPORT_TOOL_MAX_BYTES": ["0"],
    "SMART_SUPPORT_TURN_MAX_MODEL_CALLS": ["0"],
    "SMART_SUPPORT_TOOLS_PER_TURN": ["0", "101"],
    **{
        line: ["0", "-1", "soon"]
        for line in LINES
        if line.endswith(("_TIMEOUT", "_TTL", "_WINDOW", "_ABANDON_AFTER"))
    },
}


@pytest.mark.parametrize(("line", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_a_wrong_line_is_named(monkeypatch: pytest.MonkeyPatch, line: str, value: str) -> None:
    monkeypatch.setenv(line, value)

    with pytest.raises(SetupError) as refusal:
        read_settings()

    assert line in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_all_wrong_lines_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for line, values in WRONG.items():
        monkeypatch.setenv(line, values[0])

    with pytest.raises(SetupError) as refusal:
        read_settings()

    assert all(line in str(refusal.value) for line in WRONG)


def test_a_refusal_does_not_repeat_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMART_SUPPORT_SECRET_KEY", "hunter2")

    with pytest.raises(SetupError) as refusal:
        read_settings()

    assert "hunter2" not in str(refusal.value)


def test_secrets_are_never_shown() -> None:
    secret = "hunter2" * 8
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(f"postgresql://me:{secret}@db/x"),
        openai_api_key=SecretStr(secret),
        smart_support_secret_key=SecretStr(secret),
    )

    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert secret not in shown


def test_a_file_is_read_and_the_environment_goes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "SMART_SUPPORT_PORT=1\nSMART_SUPPORT_HOST=::1\nSOMETHING_ELSE=1\nOPENAI_MODEL=\n"
    )
    monkeypatch.setenv("SMART_SUPPORT_PORT", "2")

    settings = read_settings()

    assert (settings.smart_support_port, settings.smart_support_host) == (2, "::1")
    assert settings.openai_model == "gpt-4.1-mini"


@pytest.mark.skipif(not EXAMPLE.exists(), reason="there is no .env.example yet")
def test_the_example_names_every_line_and_no_other() -> None:
    compose = {"POSTGRES_PASSWORD", "SMART_SUPPORT_PUBLISHED_PORT"}  # its own, not the program's
    named = re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE)

    assert sorted(set(named) - compose) == LINES
