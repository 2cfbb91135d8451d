"""The deployment files against each other and against the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_support.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NAMES = {name.upper() for name in Settings.model_fields}


def settings_in(path: str) -> dict[str, str]:
    lines = re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", (ROOT / path).read_text(), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_watched_restarted_and_bounded(service: str) -> None:
    described = SERVICES[service]

    assert described["healthcheck"]["test"]
    assert described["restart"] == "unless-stopped"
    assert described["mem_limit"]
    assert described["pids_limit"]
    assert "no-new-privileges:true" in described["security_opt"]


@pytest.mark.parametrize("service", ["backend", "frontend"])
def test_our_own_services_run_as_an_ordinary_user_on_a_read_only_disk(service: str) -> None:
    described = SERVICES[service]
    dockerfile = (ROOT / described["build"]["dockerfile"]).read_text()
    last = dockerfile.rsplit("FROM ", 1)[1]

    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert "\nUSER " in last or "unprivileged" in last.splitlines()[0]


def test_only_nginx_is_published_and_it_waits_for_the_backend() -> None:
    published = [name for name, described in SERVICES.items() if "ports" in described]

    assert published == ["frontend"]
    assert SERVICES["frontend"]["depends_on"] == {"backend": {"condition": "service_healthy"}}
    assert SERVICES["backend"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for secret in ("POSTGRES_PASSWORD", "SMART_SUPPORT_SECRET_KEY"):
        assert f"${{{secret}:?" in text
        assert f"${{{secret}:-" not in text


def test_the_backend_is_given_settings_that_exist() -> None:
    given = set(SERVICES["backend"]["environment"]) - {"FORWARDED_ALLOW_IPS"}

    assert given <= NAMES


def test_keys_and_addresses_that_machines_share_can_be_given() -> None:
    environment = SERVICES["backend"]["environment"]
    text = (ROOT / "docs" / "deployment.md").read_text()

    for name in ("SMART_SUPPORT_SEALING_KEYS", "SMART_SUPPORT_PUBLIC_URL"):
        assert environment[name] == f"${{{name}:-}}"
        assert name in text


def test_a_line_that_compose_leaves_empty_counts_as_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SERVICES["backend"]["environment"].items():
        if value.endswith(":-}"):
            monkeypatch.setenv(name, "")

    settings = Settings(_env_file=None)

    assert settings.smart_support_sealing_keys is None
    assert settings.smart_support_public_url is None


def test_what_the_dockerfiles_copy_is_there() -> None:
    for dockerfile in ("backend/Dockerfile", "frontend/Dockerfile"):
        for line in (ROOT / dockerfile).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert (ROOT / source).exists(), f"{dockerfile} copies {source}"


def test_nginx_listens_and_asks_where_compose_says() -> None:
    conf = (ROOT / "frontend" / "nginx.conf").read_text()
    environment = SERVICES["backend"]["environment"]

    assert f"server backend:{environment['SMART_SUPPORT_PORT']};" in conf
    assert SERVICES["frontend"]["ports"] == ["${SMART_SUPPORT_PUBLISHED_PORT:-8080}:8080"]
    assert "listen 8080;" in conf


@pytest.mark.parametrize("path", [".env.example", "backend/.env.example"])
def test_each_example_names_settings_that_exist_with_their_defaults(path: str) -> None:
    extra = (
        {"POSTGRES_PASSWORD", "SMART_SUPPORT_PUBLISHED_PORT"} if path == ".env.example" else set()
    )
    given = settings_in(path)

    assert given.keys() - extra == NAMES
    for name, shown in given.items():
        if name not in extra:
            default = Settings.model_fields[name.lower()].default
            assert shown == ("" if default is None else str(default))
