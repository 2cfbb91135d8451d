"""What is counted: timers of every kind, labels that cannot grow, one answer for all workers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

from smart_support.telemetry import metrics
from smart_support.telemetry.metrics import LONGEST_LABEL, OTHER, Bounded, timed

BACKEND = Path(__file__).parents[2] / "backend"


def times(name: str, outcome: str) -> float:
    key = ("smart_support_code_seconds_count", (("name", name), ("outcome", outcome)))
    return metrics.snapshot().get(key, 0.0)


class TestTimers:
    def test_a_block(self) -> None:
        with timed("test block") as timer:
            assert timer.seconds == 0.0

        assert timer.seconds > 0.0
        assert times("test block", "done") == 1

    async def test_an_async_block_that_fails(self) -> None:
        async def fail() -> None:
            async with timed("test async block"):
                await asyncio.sleep(0)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        assert times("test async block", "failed") == 1

    async def test_functions_of_both_kinds(self) -> None:
        @timed("test function")
        def double(number: int) -> int:
            """Twice as much."""
            return number * 2

        @timed("test coroutine")
        async def triple(number: int) -> int:
            await asyncio.sleep(0)
            return number * 3

        assert double(2) == 4
        assert await asyncio.gather(triple(1), triple(2)) == [3, 6]
        assert double.__doc__ == "Twice as much."
        assert times("test function", "done") == 1
        assert times("test coroutine", "done") == 2

    async def test_what_was_told_to_stop_has_not_failed(self) -> None:
        @timed("test stopped")
        async def wait() -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert times("test stopped", "stopped") == 1


@given(values=st.lists(st.none() | st.text(max_size=300), max_size=200))
def test_a_label_from_outside_cannot_grow(values: list[str | None]) -> None:
    label = Bounded(5)

    given_out = {label(value) for value in values}

    assert len(given_out - {OTHER}) <= 5
    assert all(len(value) <= LONGEST_LABEL for value in given_out)
    assert [label(value) for value in given_out] == list(given_out)  # it says the same again


def test_both_text_forms_can_be_read() -> None:
    metrics.TURNS.labels("done").inc()

    plain, plain_type = metrics.exposition()
    modern, modern_type = metrics.exposition("application/openmetrics-text; version=1.0.0")

    assert "smart_support_turns" in {each.name for each in plain_metrics(plain.decode())}
    assert "smart_support_turns" in {each.name for each in open_metrics(modern.decode())}
    assert plain_type.startswith("text/plain")
    assert modern_type.startswith("application/openmetrics-text")


def test_as_json_it_is_the_same() -> None:
    metrics.TURNS.labels("done").inc()

    exported = json.loads(json.dumps(metrics.as_json()))

    (turns,) = [each for each in exported if each["name"] == "smart_support_turns"]
    assert turns["type"] == "counter"
    assert {"name": "smart_support_turns_total", "labels": {"status": "done"}}.items() <= turns[
        "samples"
    ][0].items()


WORKER = """
from smart_support.telemetry import metrics
metrics.TURNS.labels("done").inc(3)
metrics.SOCKETS.set(2)
metrics.BREAKER.labels("shop").set({state})
metrics.TURN_SECONDS.observe(0.2)
"""
SCRAPE = "from smart_support.telemetry import metrics; print(metrics.exposition()[0].decode())"


def test_one_worker_answers_for_all(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(BACKEND),
        metrics.SEVERAL_WORKERS: str(tmp_path),
    }

    def python(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    for state in (0, 2):
        python(WORKER.format(state=state))
    # The workers are gone; their gauges are forgotten when whoever ran them says so.
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in plain_metrics(python(SCRAPE))
        for sample in family.samples
    }

    assert found["smart_support_turns_total", ("done",)] == 6
    assert found["smart_support_turn_seconds_count", ()] == 2
    assert found["smart_support_sockets", ()] == 4
    assert found["smart_support_breaker_state", ("shop",)] == 2


def test_a_worker_that_ended_holds_no_sockets(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from smart_support.telemetry import metrics\n"
        "metrics.SOCKETS.set(2); metrics.TURNS.labels('done').inc(); "
        "metrics.worker_ended(os.getpid(), Path(os.environ[metrics.SEVERAL_WORKERS]))\n"
        "print(metrics.exposition()[0].decode())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(BACKEND),
            metrics.SEVERAL_WORKERS: str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "smart_support_sockets " not in done.stdout
    assert 'smart_support_turns_total{status="done"} 1.0' in done.stdout
