"""The documents against the product: links, settings, and the files that they show."""

import re
from pathlib import Path

import pytest
import yaml

from smart_support.agent.agents import parse_agents
from smart_support.cli.reference import reference
from smart_support.operations.reading import read_draft
from smart_support.operations.records import Access

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_something(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())

    missing = [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]

    assert missing == []


def test_the_configuration_reference_is_what_the_settings_say() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference()


def test_the_agents_file_of_the_guide_is_one_that_is_accepted() -> None:
    (shown,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "agents.md").read_text(), re.DOTALL
    )

    agents = parse_agents(shown)

    assert (agents.first, list(agents.by_name)) == ("support", ["support", "returns"])
    assert yaml.safe_load(shown)["agents"][1]["pinned"] == ["createRefund"]


@pytest.mark.parametrize(
    ("sample", "writes", "reads"),
    [
        ("loyalty.yaml", {"grantPoints", "cancelExpiry"}, {"getPoints", "listRewards"}),
        (
            "appointments.json",
            {"bookAppointment", "cancelAppointment"},
            {"findShops", "getAppointment"},
        ),
    ],
)
def test_the_samples_import_and_are_what_the_demonstration_says(
    sample: str, writes: set[str], reads: set[str]
) -> None:
    raw = (ROOT / "docs" / "samples" / sample).read_bytes()

    draft = read_draft(raw, source=sample, max_bytes=100_000)

    assert draft.skipped == ()
    assert draft.base_url is not None
    suggested = {one.tool_name: one.suggestion for one in draft.operations}
    assert {name for name, what in suggested.items() if what.access is Access.WRITE} == writes
    assert {name for name, what in suggested.items() if what.access is Access.READ} == reads
    assert all(suggested[name].confirm for name in writes)


def test_what_the_table_of_features_names_is_there() -> None:
    named = re.findall(r"`([\w/.-]+/[\w/.-]+)`", (ROOT / "docs" / "features.md").read_text())
    places = (ROOT, ROOT / "backend" / "smart_support", ROOT / "frontend" / "src")

    missing = [path for path in named if not any((place / path).exists() for place in places)]

    assert missing == []


def test_the_texts_name_no_place_of_a_machine_and_no_registry() -> None:
    for page in PAGES:
        text = page.read_text()
        assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", text), page
        assert not re.search(r"\b(pypi|npmjs|pythonhosted)\.(org|com)", text), page
