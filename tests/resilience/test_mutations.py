"""Every rule of the hardened call broken once, and the test that must then fail.

A rule whose breaking goes unnoticed is not proved by anything.
"""

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.resilience import (
    test_breaker,
    test_classify,
    test_decision,
    test_limits,
    test_meanings,
    test_payload,
    test_stale,
    test_upstream,
)
from tests.resilience.test_upstream import certificate  # noqa: F401 (a fixture)
from tests.support.faults import FaultServer

from smart_support.errors import ErrorCategory
from smart_support.resilience import (
    address,
    body,
    breaker,
    budget,
    bulkhead,
    call,
    classify,
    decision,
    origin,
    payload,
    quota,
    retry,
    stale,
    transport,
    upstream,
)
from smart_support.resilience.decision import Sense

LONGEST = 1.5
"""Seconds for a test that a mutant makes hang."""

Break = Callable[[pytest.MonkeyPatch], None]
Caught = Callable[[pytest.FixtureRequest], Any]


@dataclass(frozen=True)
class Mutant:
    name: str
    breaks: Break
    caught_by: Caught


def put(owner: object, name: str, value: object) -> Break:
    """Replace `owner.name`."""
    return lambda patch: patch.setattr(owner, name, value)


def status(code: int, **changes: Any) -> Break:
    """Read a status in another way."""
    return lambda patch: patch.setitem(
        decision._BY_STATUS, code, replace(decision.read_status(code), **changes)
    )


def failure(name: str, **changes: Any) -> Break:
    """Read a kind of failure in another way."""
    return put(decision, name, replace(getattr(decision, name), **changes))


def meaning(name: str) -> Caught:
    return lambda _: test_meanings.check(test_meanings.BY_NAME[name])


def proof(function: Callable[..., Any], **given: Any) -> Caught:
    """A test, with its fixtures."""

    async def run(request: pytest.FixtureRequest) -> None:
        names = list(inspect.signature(function).parameters)
        arguments: dict[str, Any] = dict(given)
        async with FaultServer() as server:
            for name in names:
                if name == "self":
                    arguments[name] = getattr(
                        inspect.getmodule(function), function.__qualname__.split(".")[0]
                    )()
                elif name == "server":
                    arguments[name] = server
                elif name not in arguments:
                    arguments[name] = request.getfixturevalue(name)
            done = function(**arguments)
            if inspect.isawaitable(done):
                await done

    return run


async def begins_each_time(self: call.Progress) -> None:
    if self.plan.before_sending is not None:
        await self.plan.before_sending()
    self.sent = True


async def never_begins(self: call.Progress) -> None:
    self.sent = True


async def sends_unnoticed(self: call.Progress) -> None:
    pass


def by_our_own_clock(headers: httpx.Headers) -> float | None:
    until = retry._http_date(headers.get("retry-after", ""))
    return None if until is None else (until - datetime.now(UTC)).total_seconds()


def lets_all_probe(self: breaker.Breaker, now: float) -> int:
    return self._ticket if self.closed or now >= self._until else 0


def keeps_a_lost_probe(self: breaker.Breaker, now: float) -> int:
    if self.closed:
        return self._ticket
    if now < self._until or self._leased_until:
        return 0
    self._leased_until = now
    self._ticket += 1
    return self._ticket


settle, opens = breaker.Breaker.settle, breaker.Breaker._open


def counts_cancellations(
    self: breaker.Breaker, ticket: int, now: float, *, bad: bool | None
) -> None:
    settle(self, ticket, now, bad=bad is not False)


def listens_to_the_past(
    self: breaker.Breaker, ticket: int, now: float, *, bad: bool | None
) -> None:
    settle(self, self._ticket, now, bad=bad)


def stays_open_as_long(self: breaker.Breaker, now: float) -> None:
    self._trips = 0
    opens(self, now)


def connects_to_the_name(host: str, *_: object) -> Any:
    async def found() -> list[str]:
        return [host]

    return found()


transport_of = origin.Origin.transport
inflate = body._Inflater.inflate
next_attempt = call.Progress.next_attempt
keep = stale.StaleAnswers.keep


def keeps_for_ever(self: stale.StaleAnswers, *what: Any) -> None:
    keep(self, *what[:-1], 1e9)


def forgets_what_came_before(self: call.Progress) -> None:
    next_attempt(self)
    self.unknown_before = False


def sees_only_the_socket(self: transport.WatchedStream, info: str) -> object:
    return self._stream.get_extra_info(info)


class NoCut:
    def __init__(self, _: float) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class NoDeadline(call.Progress):
    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, float("inf") if name == "deadline" else value)


POLICY_SOON = property(lambda _: retry.RetryPolicy(0.2, 5.0, 4))
POLICY_UNSENT = property(lambda _: retry.RetryPolicy(0.2, 5.0, 3))

Up = test_upstream
DEAD_UPSTREAM = (
    Up.TestTheBudget.test_a_dead_upstream_is_sent_a_tenth_more_than_the_calls_and_the_burst
)
MUTANTS = [
    # Whether to send again.
    Mutant(
        "a keyless write is repeated",
        put(call, "may_retry", lambda failure, **_: failure.sense is not Sense.FRUITLESS),
        meaning("write: a reset after the effect"),
    ),
    Mutant(
        "what was never sent is given up",
        put(call, "may_retry", lambda *_, sent, repeatable: sent and repeatable),
        proof(Up.TestNeverSent.test_a_server_that_comes_up_is_reached_by_a_keyless_write),
    ),
    Mutant(
        "a 503 is a clear no", status(503, clear=True), meaning("write: a 503 after the effect")
    ),
    Mutant(
        "a redirect is a clear no",
        failure("REDIRECTED", clear=True),
        meaning("write: a redirect after the effect"),
    ),
    Mutant(
        "a 429 may have been processed",
        status(429, sense=Sense.PASSING),
        meaning("retry-after: a keyless POST too, since a 429 was not processed"),
    ),
    *(
        Mutant(
            f"a {code} is final",
            status(code, sense=Sense.FRUITLESS),
            meaning(f"transient: {code} once"),
        )
        for code in (408, 425, 429, 500, 502, 503, 504)
    ),
    *(
        Mutant(
            f"a {code} is tried again",
            status(code, sense=Sense.PASSING),
            meaning(f"permanent: {code}"),
        )
        for code in (401, 404, 501)
    ),
    Mutant(
        "a 409 is tried again without reason",
        put(decision, "REJECTED", replace(decision.REJECTED, sense=Sense.PASSING)),
        meaning("permanent: 409"),
    ),
    Mutant(
        "a bad certificate is tried again",
        failure("BAD_CERTIFICATE", sense=Sense.PASSING),
        proof(
            Up.TestTls.test_an_untrusted_certificate_is_not_tried_again_and_nothing_was_sent
        ),
    ),
    Mutant(
        "an unknown host is tried again",
        failure("UNKNOWN_HOST", sense=Sense.PASSING),
        proof(
            Up.TestNeverSent.test_a_name_that_is_unknown_is_not_asked_for_again_a_failing_server_is
        ),
    ),
    Mutant(
        "too large an answer is asked for again",
        failure("TOO_LARGE", sense=Sense.PASSING),
        meaning("size: the first byte that does not, announced"),
    ),
    Mutant(
        "four attempts", put(origin.UpstreamSettings, "soon", POLICY_SOON),
        meaning("transient: 503 always"),
    ),
    Mutant(
        "three attempts of what was never sent",
        put(origin.UpstreamSettings, "unsent", POLICY_UNSENT),
        proof(Up.TestNeverSent.test_it_gives_up_after_five),
    ),
    # What may have happened.
    Mutant(
        "a lost attempt is forgotten",
        put(call.Progress, "next_attempt", forgets_what_came_before),
        meaning("repeated: what is gone now may have been deleted by the lost attempt"),
    ),
    Mutant(
        "a refusal of the key says nothing",
        put(decision, "_OF_THE_REQUEST", frozenset()),
        meaning("keyed: a refusal answers for the lost attempt too"),
    ),
    Mutant(
        "the first request still running is a no",
        put(call, "STILL_RUNNING", decision.REJECTED),
        meaning("keyed: the first one still running is waited for"),
    ),
    Mutant(
        "nobody notices that it was sent",
        put(call.Progress, "begin", sends_unnoticed),
        meaning("write: a reset after the effect"),
    ),
    Mutant(
        "a write changes nothing",
        put(call, "outcome_of", lambda *_, sent, writes: "rejected" if sent else "not_sent"),
        meaning("write: the end after the effect"),
    ),
    Mutant(
        "a keyless write goes over a kept connection",
        put(origin.Origin, "transport", lambda self, *, once: transport_of(self, once=False)),
        meaning("network: a keyless write goes over no kept connection"),
    ),
    # How long to wait.
    Mutant("nobody listens to Retry-After", put(call, "asked_wait", lambda _: None),
           meaning("retry-after: seconds")),
    Mutant(
        "a date is read by our own clock",
        put(call, "asked_wait", by_our_own_clock),
        meaning("retry-after: a date of the upstream's clock, which is an hour ahead"),
    ),
    Mutant(
        "the deadline is no matter",
        put(upstream, "Progress", NoDeadline),
        meaning("retry-after: beyond the deadline fails at once, and says when"),
    ),
    Mutant(
        "the deadline does not cut the running attempt",
        put(upstream, "Progress", NoDeadline),
        meaning("time: the deadline cuts the running attempt"),
    ),
    Mutant("an attempt has no timeout", put(call, "Cut", NoCut),
           meaning("time: silence once")),
    Mutant("no chance in the wait", put(call, "backoff_ceiling", lambda *_: 1.0),
           proof(Up.TestHooks.test_are_told_of_everything)),
    Mutant(
        "a 429 waits as short as the rest",
        put(origin.UpstreamSettings, "limited", origin.UpstreamSettings.soon),
        meaning("retry-after: a 429 without it waits longer than a 503"),
    ),
    # How much one API is asked.
    Mutant("no retry budget", put(budget.RetryBudget, "take", lambda *_: True),
           proof(DEAD_UPSTREAM, number=50)),
    Mutant(
        "a budget that each call fills",
        put(budget.RetryBudget, "called", lambda self: setattr(self, "tokens", self.burst)),
        proof(Up.TestTheBudget.test_attempts_that_were_never_sent_count_too),
    ),
    Mutant("a bulkhead without walls", put(bulkhead.Bulkhead, "take", lambda _: True),
           proof(Up.TestTheBulkhead.test_slow_calls_to_one_api_do_not_delay_another)),
    Mutant("a place is kept", put(bulkhead.Bulkhead, "give_back", lambda _: None),
           meaning("basic: an answer")),
    Mutant(
        "one bulkhead for all",
        put(upstream, "origin_of", lambda _: "all"),
        proof(Up.TestTheBulkhead.test_slow_calls_to_one_api_do_not_delay_another),
    ),
    Mutant("no quota", put(quota.QuotaGate, "reserve", lambda *_: 0.0),
           proof(Up.TestQuotas.test_calls_wait_for_their_turn)),
    Mutant(
        "a write begins in the last moment",
        put(upstream.CallPlan, "may_repeat", True),
        proof(Up.TestTheLastMoment.test_begins_no_write_that_would_be_cut_after_it_has_left),
    ),
    Mutant(
        "a hedge needs no room",
        put(upstream._Exchange, "_takes_another", lambda _: True),
        proof(Up.TestHedging.test_is_left_out_where_there_is_no_room, full="places"),
    ),
    # The breaker.
    Mutant("a breaker that never opens", put(breaker.Breaker, "_too_bad", lambda _: False),
           proof(test_breaker.test_opens_when_most_of_enough_calls_failed_whatever_comes_between)),
    Mutant("everybody probes", put(breaker.Breaker, "admit", lets_all_probe),
           proof(Up.TestTheBreaker.test_one_of_many_finds_out_whether_it_is_well)),
    Mutant(
        "a lost probe wedges it",
        put(breaker.Breaker, "admit", keeps_a_lost_probe),
        proof(test_breaker.test_a_probe_that_is_lost_gives_its_place_up_after_its_lease),
    ),
    Mutant(
        "a cancellation is a failure",
        put(breaker.Breaker, "settle", counts_cancellations),
        proof(Up.TestCancellation.test_a_storm_of_them_leaks_no_place_and_gives_no_verdict),
    ),
    *(
        Mutant(
            f"a {code} is a verdict",
            status(code, unhealthy=True),
            proof(Up.TestTheBreaker.test_refusals_give_no_verdict, code=code),
        )
        for code in (404, 429)
    ),
    Mutant(
        "it listens to calls of before",
        put(breaker.Breaker, "settle", listens_to_the_past),
        proof(test_breaker.test_calls_from_before_it_opened_are_not_listened_to),
    ),
    Mutant(
        "it stays open equally long",
        put(breaker.Breaker, "_open", stays_open_as_long),
        proof(
            test_breaker.test_stays_open_longer_each_time_with_jitter_and_never_too_long,
            chance=0.0,
            times=[2.0, 4.0, 8.0],
        ),
    ),
    Mutant("slow is well", put(breaker.Breaker, "slow", lambda *_: False),
           proof(Up.TestTheBreaker.test_slow_answers_open_it)),
    Mutant("a 503 is well", status(503, unhealthy=False),
           proof(Up.TestTheBreaker.test_opens_at_once_refuses_and_recovers_by_itself)),
    Mutant(
        "who waited is let through",
        put(breaker.Breaker, "admit", lambda self, _: self._ticket),
        proof(Up.TestTheBreaker.test_who_waited_for_a_place_meanwhile_is_refused_too),
    ),
    # Before the first byte.
    Mutant(
        "before_sending is awaited each time",
        put(call.Progress, "begin", begins_each_time),
        proof(
            Up.TestBeforeSending.test_is_awaited_once_when_a_connection_is_held_and_before_the_first_byte
        ),
    ),
    Mutant(
        "before_sending is left out",
        put(call.Progress, "begin", never_begins),
        proof(
            Up.TestBeforeSending.test_is_awaited_once_when_a_connection_is_held_and_before_the_first_byte
        ),
    ),
    Mutant(
        "before_sending is awaited before there is a connection",
        put(transport.StackTransport, "traces", False),
        proof(Up.TestBeforeSending.test_is_not_awaited_when_nothing_can_be_sent),
    ),
    # Where it goes.
    Mutant(
        "any address may be called",
        put(address.AddressPolicy, "check", lambda *_: None),
        proof(Up.TestForbiddenAddresses.test_are_not_contacted, url="http://127.0.0.2:{port}/"),
    ),
    Mutant(
        "the name is connected to",
        put(transport, "addresses_of", connects_to_the_name),
        proof(
            Up.TestForbiddenAddresses.test_a_name_is_resolved_once_and_connected_to_as_checked
        ),
    ),
    Mutant(
        "one good address is enough",
        put(address.AddressPolicy, "_listed", lambda *_: True),
        proof(Up.TestForbiddenAddresses.test_one_forbidden_address_among_good_ones_is_enough),
    ),
    # What comes back.
    *(
        Mutant(
            f"what is too much answers the next request ({name})",
            put(transport.WatchedStream, "get_extra_info", sees_only_the_socket),
            proof(
                Up.TestKeptConnections.test_are_not_used_again_after_more_than_was_asked_for,
                answer=answer,
            ),
        )
        for name, answer in (
            ("counted", Up.ANSWER + Up.OF_ADA),
            ("chunked", Up.CHUNKED + Up.OF_ADA),
        )
    ),
    Mutant(
        "inflation has no limit",
        put(body._Inflater, "inflate", lambda self, piece, _: inflate(self, piece, 10**9)),
        meaning("size: the first inflated byte that does not"),
    ),
    Mutant("nothing that is packed is too long", put(body, "_SLACK", 10**12),
           meaning("size: gzip that never says anything")),
    Mutant("half a gzip is enough", put(body._Inflater, "finished", True),
           meaning("network: gzip that breaks off")),
    Mutant(
        "a drip counts more than its status",
        put(call, "read_status", lambda _: decision.TIMED_OUT),
        meaning("time: a refusal whose body drips is a refusal"),
    ),
    Mutant("NaN stays", put(payload, "_nothing", float),
           proof(test_payload.test_reads_what_other_apis_write,
                body=b'{"n":NaN}', value={"n": None})),
    Mutant("long ids lose digits", put(payload, "_MAY_BE_TOO_LONG", re.compile(rb"x^")),
           proof(test_payload.test_reads_what_other_apis_write,
                body=b"[18446744073709551616]", value=["18446744073709551616"])),
    Mutant("no depth is too deep", put(payload, "_depth_exceeds", lambda *_: False),
           proof(test_payload.test_refuses_what_is_none, body=b"[" * 200 + b"]" * 200)),
    # Instead of an answer.
    Mutant(
        "a write that was sent goes elsewhere, too",
        put(upstream.Upstreams, "_may_fall_back", lambda *_: True),
        proof(Up.TestAnotherOrigin.test_is_not_asked_for_a_write_that_was_sent),
    ),
    Mutant(
        "another origin answers a refusal",
        put(upstream, "_MAY_PASS", frozenset(ErrorCategory)),
        proof(Up.TestAnotherOrigin.test_is_not_asked_after_a_refusal, code=404),
    ),
    Mutant(
        "an earlier answer hides a refusal",
        put(upstream, "_MAY_PASS", frozenset(ErrorCategory)),
        proof(Up.TestEarlierAnswers.test_do_not_take_the_place_of_a_refusal, code=401),
    ),
    Mutant(
        "an earlier answer is for everybody",
        put(stale, "_OF_ONE_CALL", stale._OF_ONE_CALL | {"authorization"}),
        proof(Up.TestEarlierAnswers.test_are_not_given_to_another_customer),
    ),
    Mutant(
        "earlier answers are kept without end",
        put(stale.StaleAnswers, "keep", keeps_for_ever),
        proof(Up.TestEarlierAnswers.test_take_the_place_of_a_failure_and_say_so),
    ),
    Mutant(
        "earlier answers need no room",
        put(stale, "_size", lambda _: 0),
        proof(test_stale.test_memory_is_bounded_and_the_longest_unused_goes_first),
    ),
    # What kind of failure.
    Mutant(
        "the best of several failures counts",
        put(classify, "_WORST_FIRST", classify._WORST_FIRST[::-1]),
        proof(test_classify.test_of_several_failures_the_worst_counts),
    ),
    Mutant("the table is another", put(test_decision, "may_retry", lambda *_, **__: True),
           proof(test_decision.test_the_decision_is_the_table)),
    Mutant(
        "places are given back twice",
        put(bulkhead.Bulkhead, "give_back", lambda self: setattr(self, "running", 0)),
        proof(test_limits.TestTheBulkhead.test_gives_places_in_the_order_in_which_they_were_asked_for),
    ),
    Mutant("the mode for tests waits", put(call, "wait_of", lambda seconds: seconds),
           proof(Up.test_in_the_mode_for_tests_nothing_waits)),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_broken_rule_is_noticed(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    noticed = False
    with monkeypatch.context() as patch:
        mutant.breaks(patch)
        try:
            async with asyncio.timeout(LONGEST):
                await mutant.caught_by(request)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 (however it fails)
            noticed = True

    assert noticed, f"no test fails although {mutant.name}"
