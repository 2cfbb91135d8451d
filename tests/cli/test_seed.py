"""The made-up past: told by the product itself, spread over days, and counted like any other."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.server import settings_of

from smart_support.app.parts import Seams, open_parts
from smart_support.cli.seed import CUSTOMERS, DAYS, STORIES, seed_demo
from smart_support.cli.serve import bind
from smart_support.database.embedded import embedded_postgres
from smart_support.errors import SetupError
from smart_support.events.records import AttemptMade, ToolReturned
from smart_support.settings import Settings

HELD = 24


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    folder = Path(tempfile.mkdtemp(prefix="sss-"))
    yield settings_of(smart_support_data_dir=folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def said(settings: Settings) -> list[str]:
    said: list[str] = []
    await seed_demo(settings, HELD, seed=3, say=said.append)
    return said


async def test_the_past_is_there_with_its_figures(settings: Settings, said: list[str]) -> None:
    begun = datetime.now(UTC)
    async with (
        embedded_postgres(settings.smart_support_data_dir) as url,
        open_parts(settings, url, Seams(offline_token_delay=0.0)) as parts,
    ):
        listed = (await parts.tracker.threads(limit=100)).threads
        cohort = await parts.recorder.cohort(begun - timedelta(days=DAYS + 2), begun)
        threads = [summary.lifecycle for summary in listed]
        facts = [
            event.fact for thread in threads for event in await parts.log.read(thread.thread_id)
        ]
        times = [event.at for thread in threads for event in await parts.log.read(thread.thread_id)]

    assert len(threads) == HELD == cohort.conversations
    assert said[-1].startswith("Done")
    assert {summary.customer_name for summary in listed} <= set(CUSTOMERS.values())
    assert min(times) > begun - timedelta(days=DAYS + 2)
    assert max(times) < begun
    assert len({thread.opened_at.date() for thread in threads}) > HELD // 3
    assert any(isinstance(fact, AttemptMade) for fact in facts)
    assert any(isinstance(fact, ToolReturned) and fact.outcome == "done" for fact in facts)
    assert {thread.status.value for thread in threads} >= {"resolved"}


async def test_it_does_not_run_beside_the_server(settings: Settings) -> None:
    with bind(settings) as taken:
        port = taken.getsockname()[1]
        busy = settings.model_copy(update={"smart_support_port": port})

        with pytest.raises(SetupError, match=str(port)):
            await seed_demo(busy, 1, seed=1, say=lambda _: None)


def test_the_stories_have_failures_approvals_and_handoffs_among_them() -> None:
    assert {one.ends for one in STORIES} == {
        "resolved",
        "waiting",
        "abandoned",
        "person",
        "answered",
    }
    assert any(one.fails for one in STORIES)
    assert any(not one.approves for one in STORIES)
