"""The page on the hardened call: its examples run, and its tables say what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import FaultServer, after_effect, reset, status

from smart_support.resilience import decision
from smart_support.resilience.breaker import SECONDS, BreakerPolicy
from smart_support.resilience.decision import Failure, Sense, read_status
from smart_support.resilience.origin import UpstreamSettings
from smart_support.resilience.payload import UnreadableAnswer
from smart_support.resilience.upstream import CallFailed

PAGE = (Path(__file__).parents[2] / "docs" / "resilience.md").read_text()
CALL, ELSEWHERE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(example, "docs/resilience.md", "exec"), names)
    return names


async def test_the_example_of_a_call_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    refund = run(CALL)["refund"]
    async with FaultServer() as server:
        server.script("/refunds", after_effect(status(503)), after_effect(status(200)))

        await refund(server.url("/refunds"), "k-1")

        assert server.seen("/refunds").effects == 1
        assert capsys.readouterr().out.splitlines() == ["1 unknown", "2 done"]

        server.script("/lost", reset())
        with pytest.raises(CallFailed) as raised:
            await refund(server.url("/lost"), "k-2")
        assert raised.value.outcome == "unknown"


async def test_the_examples_for_other_code_run() -> None:
    names = run(ELSEWHERE)

    await names["main"]()

    assert names["asked"] == ["count"] * 3


def test_every_code_is_listed_with_its_category() -> None:
    listed = dict(re.findall(r"^\| `(API_\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    known = [each for each in vars(decision).values() if isinstance(each, Failure)]
    known += decision._BY_STATUS.values()

    assert set(listed) == {failure.code for failure in known} | {UnreadableAnswer.code}
    for failure in known:
        assert failure.category.value in listed[failure.code]


@pytest.mark.parametrize("sense", Sense)
def test_the_statuses_stand_where_they_belong(sense: Sense) -> None:
    (row,) = re.findall(rf"^\| {sense.value}: ([^|]+)\|", PAGE, re.MULTILINE)

    for code in re.findall(r"\b\d{3}\b", row):
        assert read_status(int(code)).sense is sense


def test_the_numbers_are_the_defaults() -> None:
    defaults, breaker = UpstreamSettings(), BreakerPolicy()
    more = defaults.attempts_unsent - defaults.attempts

    for row in (
        f"| attempts | {defaults.attempts} |",
        f"| attempts while nothing was sent | {more} more |",
        f"| {defaults.base_delay} s, up to {defaults.max_delay:.0f} s |",
        f"| the same after a 429 | {defaults.base_delay_limited:.0f} s |",
        f"| {defaults.retry_ratio:.0%} of the calls, {defaults.retry_burst:.0f} in a row,"
        f" 1 per {defaults.retry_floor:.0f} s free |".replace("10%", "10 %"),
        f"| breaker: window | {SECONDS} s ",
        f"| breaker: least calls, share | {breaker.least_calls}, {breaker.share * 100:.0f} % ",
        f"| breaker: slow | {breaker.slow_after:.0f} s |",
        f"| calls to one origin at a time | {defaults.places} |",
        f"`{defaults.deadline_header}`",
    ):
        assert row in PAGE
