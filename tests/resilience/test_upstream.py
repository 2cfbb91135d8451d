"""The call around its attempts: what it waits for, whom it spares, when it stops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.faults import (
    FaultServer,
    after_effect,
    free_port,
    hang,
    head,
    ok,
    reset,
    says,
    status,
    wait_for,
)
from tests.support.upstreams import LOOPBACK, Calls, Time

from smart_support.errors import DatabaseUnavailable, ErrorCategory
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.breaker import BreakerPolicy
from smart_support.resilience.quota import Quota
from smart_support.resilience.records import AttemptReport
from smart_support.resilience.testing import instant_retries
from smart_support.resilience.transport import pinned
from smart_support.resilience.upstream import Answer, CallFailed, Hooks


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as opened:
        yield opened


async def failure_of(calls: Calls, *args: object, **changes: object) -> CallFailed:
    with pytest.raises(CallFailed) as raised:
        await calls.call(*args, **changes)  # type: ignore[arg-type]
    return raised.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


class TestTheRequestOnTheWire:
    async def test_keeps_host_and_headers_and_says_how_long_the_answer_is_waited_for(
        self, server: FaultServer
    ) -> None:
        async with Calls(server) as calls:
            server.script("/", status(503), ok())

            await calls.call(headers={"Authorization": "Bearer x", "Accept-Encoding": "br"})

        first, second = server.seen("/").headers
        assert first["host"] == f"127.0.0.1:{server.port}"
        assert first["authorization"] == "Bearer x"
        assert first["accept-encoding"] == "gzip, deflate"
        assert int(first["x-request-timeout-ms"]) == 1000
        assert int(second["x-request-timeout-ms"]) <= 1000

    async def test_the_remaining_time_shrinks_from_attempt_to_attempt(
        self, server: FaultServer
    ) -> None:
        async with Calls(server) as calls:
            server.script("/", status(503, retry_after="2"), status(503, retry_after="1"), ok())

            await calls.call(attempt=60.0)

        told = [int(each["x-request-timeout-ms"]) for each in server.seen("/").headers]
        assert 4_900 <= told[0] <= 5_000
        assert told[1] <= 3_000
        assert told[2] <= 2_000

    async def test_the_same_body_is_sent_again(self, server: FaultServer) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"all "
            yield b"of it"

        async with Calls(server) as calls:
            server.script("/", reset(), ok())
            request = httpx.Request(
                "PUT", server.url(), content=pieces(), headers={"Content-Length": "9"}
            )

            await calls.upstreams.send(request, calls.plan("PUT", repeatable=True))

        assert server.seen("/").bodies == [b"all of it", b"all of it"]

    async def test_the_callers_request_stays_as_it_was(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            request = httpx.Request("GET", server.url())
            before = dict(request.headers)

            await calls.upstreams.send(request, calls.plan())

        assert dict(request.headers) == before
        assert "trace" not in request.extensions

    async def test_a_header_that_cannot_be_written_is_not_sent(self, server: FaultServer) -> None:
        begun: list[str] = []

        async def before() -> None:
            begun.append("begun")

        async with Calls(server) as calls:
            failure = await failure_of(
                calls, "POST", headers={"X-Bad": "a\r\nb"}, before_sending=before
            )

        assert (failure.code, failure.outcome) == ("API_BAD_REQUEST", "not_sent")
        assert server.seen("/").attempts == 0


CHUNKED = head(200, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
ANSWER = head(200, length=2) + b"{}"
OF_ADA = head(200, length=15) + b'{"whose":"ada"}'


class TestKeptConnections:
    @pytest.mark.parametrize(
        "answer",
        [
            ANSWER,
            CHUNKED,
            head(204),
            b"HTTP/1.1 103 -\r\nLink: x\r\n\r\n" + ANSWER,
            head(200, length=200_000) + b" " * 200_000,
        ],
        ids=["counted", "chunked", "nothing", "hints", "large"],
    )
    async def test_are_used_again(self, server: FaultServer, answer: bytes) -> None:
        async with Calls(server) as calls:
            server.script("/", says(answer))

            for _ in range(3):
                await calls.call(max_bytes=1_000_000)

        assert server.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            ANSWER + OF_ADA,
            CHUNKED + OF_ADA,
            head(204) + OF_ADA,
            head(200, length=1) + b"{}",
            ANSWER + b"\r\n",
        ],
        ids=["counted", "chunked", "nothing", "longer", "blank"],
    )
    async def test_are_not_used_again_after_more_than_was_asked_for(
        self, server: FaultServer, answer: bytes
    ) -> None:
        """The rest would be the answer to the next request, which may be another customer's."""
        async with Calls(server) as calls:
            server.script("/ada", says(answer))

            await calls.call(path="/ada")
            got = await calls.call(path="/bob")

        assert got.body == b'{"ok":true}'
        assert server.connections == 2
        assert server.seen("/bob").attempts == 1


class TestNeverSent:
    async def test_a_server_that_comes_up_is_reached_by_a_keyless_write(self) -> None:
        late, moved = FaultServer(port=free_port()), Time()

        async def sleep(seconds: float) -> None:
            await moved.sleep(seconds)
            if len(moved.waits) == 4:
                await late.__aenter__()

        async with Calls(late, sleep=sleep) as calls:
            try:
                await calls.call("POST")
            finally:
                await late.__aexit__()

        assert late.seen("/").effects == 1
        assert [each.outcome for each in calls.reports] == ["not_sent"] * 4 + ["done"]

    async def test_it_gives_up_after_five(self) -> None:
        async with Calls(FaultServer(port=free_port())) as calls:
            failure = await failure_of(calls, "POST")

        assert (failure.category, failure.outcome) == (ErrorCategory.NETWORK, "not_sent")
        assert len(calls.reports) == 5

    async def test_once_something_was_sent_three_are_enough(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", reset())

            await failure_of(calls)

        assert server.seen("/").attempts == 3

    @pytest.mark.parametrize(
        "url",
        ["http://nonexistent.invalid/", "ftp://127.0.0.1/", "file:///etc/passwd"],
    )
    async def test_what_cannot_be_is_not_tried_again(self, server: FaultServer, url: str) -> None:
        async with Calls(server) as calls:
            failure = await failure_of(calls, url=url)

        assert failure.outcome == "not_sent"
        assert failure.category in {ErrorCategory.NETWORK, ErrorCategory.NON_RETRYABLE}
        assert calls.time.waits == []

    async def test_a_name_that_is_unknown_is_not_asked_for_again_a_failing_server_is(
        self, server: FaultServer
    ) -> None:
        asked: list[str] = []
        unknown = socket.gaierror(socket.EAI_NONAME, "no such name")
        down = socket.gaierror(socket.EAI_AGAIN, "try again")

        for error, attempts, code in (
            (unknown, 1, "API_UNKNOWN_HOST"),
            (down, 5, "API_UNREACHABLE"),
        ):
            asked.clear()

            async def resolver(host: str, _: int, error: OSError = error) -> list[str]:
                asked.append(host)
                raise error

            async with Calls(server, resolver=resolver) as calls:
                failure = await failure_of(calls, url="http://shop.test/")

            assert (failure.code, failure.outcome) == (code, "not_sent")
            assert len(asked) == attempts


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for another name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wrong.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("wrong.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TestTls:
    async def test_an_untrusted_certificate_is_not_tried_again_and_nothing_was_sent(
        self, certificate: Path
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        async with FaultServer(tls=context) as server, Calls(server) as calls:
            failure = await failure_of(calls, "POST")

        assert (failure.code, failure.outcome) == ("API_BAD_CERTIFICATE", "not_sent")
        assert failure.category is ErrorCategory.NETWORK
        assert len(calls.reports) == 1

    async def test_the_name_is_kept_although_the_connection_goes_to_an_address(
        self, certificate: Path
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)

        async def resolver(_host: str, _port: int) -> list[str]:
            return ["127.0.0.1"]

        async with FaultServer(tls=context) as server:
            trusting = ssl.create_default_context(cafile=str(certificate))
            connect = pinned(LOOPBACK, resolver, ssl_context=trusting)
            async with Calls(server, connect=connect) as calls:
                answer = await calls.call(url=f"https://wrong.test:{server.port}/")

        assert answer.status == 200
        assert names == ["wrong.test"]
        assert server.seen("/").headers[0]["host"] == f"wrong.test:{server.port}"


class TestBeforeSending:
    async def test_is_awaited_once_when_a_connection_is_held_and_before_the_first_byte(
        self, server: FaultServer
    ) -> None:
        happened: list[tuple[str, int, int]] = []

        async def before() -> None:
            await asyncio.sleep(0.02)  # the server has seen the connection by then
            happened.append(("before", server.connections, server.seen("/").attempts))

        async with Calls(server) as calls:
            server.script("/", status(429), status(429), ok())

            await calls.call("POST", before_sending=before)

        assert happened == [("before", 1, 0)]

    async def test_is_not_awaited_when_nothing_can_be_sent(self) -> None:
        async def before() -> None:
            raise AssertionError("nothing is about to be sent")

        async with Calls(FaultServer(port=free_port())) as calls:
            failure = await failure_of(calls, "POST", before_sending=before)

        assert failure.outcome == "not_sent"

    @pytest.mark.parametrize(
        "error",
        [
            DatabaseUnavailable("down"),
            TimeoutError(),
            httpx.ReadError("not of this request"),
            KeyError("a bug"),
        ],
        ids=repr,
    )
    async def test_what_it_raises_is_raised_and_nothing_is_sent(
        self, server: FaultServer, error: Exception
    ) -> None:
        async def before() -> None:
            raise error

        async with Calls(server) as calls:
            with pytest.raises(type(error)) as raised:
                await calls.call("POST", before_sending=before)
            assert raised.value is error
            await calls.call("POST")  # the place and the connection are free again
            (state,) = calls.upstreams.states()

        assert server.seen("/").attempts == 1
        assert state.running == 0

    async def test_cut_by_the_timeout_it_is_not_begun_again_and_nothing_is_sent(
        self, server: FaultServer
    ) -> None:
        begun: list[str] = []

        async def before() -> None:
            begun.append("begun")
            await asyncio.sleep(60)

        async with Calls(server) as calls:
            failure = await failure_of(calls, "POST", before_sending=before, attempt=0.1, total=5.0)

        assert begun == ["begun"]
        assert (failure.category, failure.outcome) == (ErrorCategory.TIMEOUT, "not_sent")
        assert server.seen("/").attempts == 0

    async def test_over_another_transport_it_goes_before_the_request(self) -> None:
        happened: list[str] = []

        def answer(_: httpx.Request) -> httpx.Response:
            happened.append("sent")
            return httpx.Response(200, json={"ok": True})

        async def before() -> None:
            happened.append("before")

        def connect(_origin: str, *, once: bool) -> httpx.AsyncBaseTransport:
            return httpx.MockTransport(answer)

        async with Calls(FaultServer(), connect=connect) as calls:
            got = await calls.call("POST", url="http://shop.test/", before_sending=before)

        assert happened == ["before", "sent"]
        assert got.body == b'{"ok":true}'


class TestCancellation:
    async def test_passes_at_once_closes_the_connection_and_is_reported(
        self, server: FaultServer
    ) -> None:
        async with Calls(server) as calls:
            server.script("/", after_effect(hang()))
            task = asyncio.create_task(calls.call("POST"))
            await until(lambda: server.seen("/").running == 1)

            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            await until(lambda: server.seen("/").hung_up == 1)
            (report,) = calls.reports
            (state,) = calls.upstreams.states()
        assert (report.cancelled, report.outcome, report.error) == (True, "unknown", None)
        assert state.running == 0

    async def test_while_waiting_between_attempts_it_passes(self, server: FaultServer) -> None:
        async with Calls(server, sleep=lambda _: asyncio.sleep(60)) as calls:
            server.script("/", status(503))
            task = asyncio.create_task(calls.call())
            await until(lambda: len(calls.reports) == 1)

            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        assert server.seen("/").attempts == 1

    async def test_a_storm_of_them_leaks_no_place_and_gives_no_verdict(
        self, server: FaultServer
    ) -> None:
        async with Calls(server, places=4) as calls:
            server.script("/hang", hang())
            for round_ in range(1, 4):
                tasks = [asyncio.create_task(calls.call(path="/hang")) for _ in range(20)]
                await until(lambda so_far=4 * round_: server.seen("/hang").attempts >= so_far)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

            answers = await asyncio.gather(*(calls.call(path="/fine") for _ in range(20)))
            (state,) = calls.upstreams.states()

        assert len(answers) == 20
        assert (state.running, state.waiting) == (0, 0)
        assert state.breakers["all"].state == "closed"


class TestTheBudget:
    @pytest.mark.parametrize("number", [1_000])
    async def test_a_dead_upstream_is_sent_a_tenth_more_than_the_calls_and_the_burst(
        self, server: FaultServer, number: int
    ) -> None:
        exhausted: list[str] = []
        # A breaker would spare it even more; here it is the budget that is looked at.
        never = BreakerPolicy(least_calls=10**9)
        hooks = Hooks(budget_exhausted=exhausted.append)
        async with Calls(server, breaker=never, hooks=hooks) as calls:
            server.script("/", status(503))
            for _ in range(number):
                await failure_of(calls)

        floor = calls.time.moved / 10 + 1
        assert server.seen("/").attempts <= 1.1 * number + 10 + floor
        assert exhausted
        assert set(exhausted) == {server.origin}

    async def test_refused_calls_earn_no_retries(self, server: FaultServer) -> None:
        async with Calls(server, breaker=BreakerPolicy(open_for=60.0, open_at_most=90.0)) as calls:
            server.script("/", status(503))
            while calls.upstreams.allows(server.url(), "all"):
                await failure_of(calls)
            (before,) = calls.upstreams.states()

            for _ in range(100):
                await failure_of(calls)

            (after,) = calls.upstreams.states()
        assert after.retry_budget == before.retry_budget

    async def test_attempts_that_were_never_sent_count_too(self) -> None:
        async with Calls(
            FaultServer(port=free_port()), retry_burst=2, breaker=BreakerPolicy(least_calls=10**9)
        ) as calls:
            for _ in range(20):
                await failure_of(calls)

        assert len(calls.reports) <= 20 + 2 + 2 + calls.time.moved / 10 + 1


class TestTheBreaker:
    async def test_opens_at_once_refuses_and_recovers_by_itself(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", status(503))
            while calls.upstreams.allows(server.url(), "all"):
                await failure_of(calls)
            attempts = server.seen("/").attempts

            refused = await failure_of(calls)
            (standing,) = calls.upstreams.open_groups()

            assert (refused.code, refused.outcome) == ("API_CIRCUIT_OPEN", "not_sent")
            assert refused.category is ErrorCategory.RETRYABLE
            assert refused.retry_after is not None
            assert 0 < refused.retry_after <= 3.0
            assert server.seen("/").attempts == attempts
            assert (standing.origin, standing.group) == (server.origin, "all")
            assert standing.state == "open"

            server.script("/", ok())
            calls.time.moved += refused.retry_after
            assert calls.upstreams.allows(server.url(), "all")
            await calls.call()
            assert calls.upstreams.open_groups() == ()
            for _ in range(5):
                await calls.call()

    async def test_one_of_many_finds_out_whether_it_is_well(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", status(503))
            while calls.upstreams.allows(server.url(), "all"):
                await failure_of(calls)
            calls.time.moved += 5.0
            before, answered = server.seen("/").attempts, asyncio.Event()
            server.script("/", wait_for(answered))

            tasks = [asyncio.create_task(calls.call()) for _ in range(50)]
            await until(lambda: sum(task.done() for task in tasks) == 49)
            answered.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)

        assert server.seen("/").attempts == before + 1
        assert [type(each) for each in results].count(Answer) == 1

    async def test_another_group_and_another_origin_are_not_concerned(
        self, server: FaultServer
    ) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", status(503))
            while calls.upstreams.allows(server.url(), "all"):
                await failure_of(calls)

            await calls.call(path="/fine", group="another")
            await calls.call(url=other.url())

            assert not calls.upstreams.allows(server.url(), "all")

    @pytest.mark.parametrize("code", [404, 401, 409, 429, 422])
    async def test_refusals_give_no_verdict(self, server: FaultServer, code: int) -> None:
        async with Calls(server) as calls:
            server.script("/", status(code))
            for _ in range(30):
                await failure_of(calls)

            assert calls.upstreams.allows(server.url(), "all")

    async def test_slow_answers_open_it(self, server: FaultServer) -> None:
        async with Calls(server, breaker=BreakerPolicy(slow_after=0.0)) as calls:
            for _ in range(10):
                await calls.call()

            assert not calls.upstreams.allows(server.url(), "all")

    async def test_who_waited_for_a_place_meanwhile_is_refused_too(
        self, server: FaultServer
    ) -> None:
        async with Calls(server, places=10) as calls:
            server.script("/", hang())

            results = await asyncio.gather(
                *(calls.call(attempt=0.2, total=30.0) for _ in range(60)), return_exceptions=True
            )

        assert all(isinstance(each, CallFailed) for each in results)
        assert server.seen("/").attempts <= 20


class TestTheBulkhead:
    async def test_slow_calls_to_one_api_do_not_delay_another(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", hang())
            tasks = [asyncio.create_task(calls.call(attempt=30, total=30)) for _ in range(150)]
            await until(lambda: server.seen("/").running == 32)

            async with asyncio.timeout(2):
                await calls.call(url=other.url())
            busy = next(each for each in calls.upstreams.states() if each.running)

            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert (busy.running, busy.waiting) == (32, 118)
        assert server.seen("/").most_running == 32

    async def test_the_wait_counts_to_the_deadline_and_not_to_the_attempt(
        self, server: FaultServer
    ) -> None:
        released = asyncio.Event()
        async with Calls(server, places=1) as calls:
            server.script("/", wait_for(released), ok())
            first = asyncio.create_task(calls.call(attempt=5))
            await until(lambda: server.seen("/").running == 1)

            too_late = await failure_of(calls, total=0.1)
            in_time = asyncio.create_task(calls.call(attempt=0.2, total=5))
            await asyncio.sleep(0.3)  # longer than the attempt may take
            released.set()

            assert (await first).status == 200
            assert (await in_time).status == 200
        assert (too_late.code, too_late.outcome) == ("API_BUSY", "not_sent")

    async def test_too_many_waiting_are_refused_at_once(self, server: FaultServer) -> None:
        async with Calls(server, places=1, most_waiting=1) as calls:
            server.script("/", hang())
            tasks = [asyncio.create_task(calls.call(total=30)) for _ in range(2)]
            await until(lambda: server.seen("/").running == 1)

            refused = await failure_of(calls)

            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert refused.code == "API_BUSY"


class TestTheLastMoment:
    async def test_begins_no_write_that_would_be_cut_after_it_has_left(
        self, server: FaultServer
    ) -> None:
        async with Calls(server, least_for_write=4.0) as calls:
            too_late = await failure_of(calls, "POST", total=3.0)
            assert (await calls.call("POST", total=3.0, repeatable=True)).status == 200
            assert (await calls.call("GET", total=3.0)).status == 200
            assert (await calls.call("POST", total=5.0)).status == 200

        assert (too_late.code, too_late.outcome) == ("API_TIMEOUT", "not_sent")
        assert server.seen("/").attempts == 3

    async def test_tells_of_the_last_attempt_if_there_was_one(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", status(429, retry_after="1"))

            failure = await failure_of(calls, "POST", total=1.3)

        assert failure.code == "API_RATE_LIMITED"
        assert server.seen("/").attempts == 1


class TestQuotas:
    async def test_calls_wait_for_their_turn(self, server: FaultServer) -> None:
        async with Calls(server, quotas={server.origin: Quota(2, 1.0)}) as calls:
            for _ in range(5):
                await calls.call()

        # The third and the fifth wait for a second after the first and the third.
        assert 1.5 < sum(calls.time.waits) <= 2.0

    async def test_a_turn_beyond_the_deadline_is_refused_at_once(self, server: FaultServer) -> None:
        async with Calls(server, quotas={server.origin: Quota(1, 60.0)}) as calls:
            await calls.call()

            refused = await failure_of(calls)

        assert (refused.code, refused.outcome) == ("API_BUSY", "not_sent")
        assert refused.retry_after is not None
        assert 59 < refused.retry_after <= 60
        assert server.seen("/").attempts == 1


class TestHedging:
    async def test_the_first_answer_of_two_counts(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", hang(), ok())

            await calls.call(hedge_after=0.05)
            await until(lambda: server.seen("/").hung_up == 1)
            (state,) = calls.upstreams.states()

        assert server.seen("/").attempts == 2
        assert [each.hedged for each in calls.reports] == [True]
        assert state.running == 0

    async def test_a_failure_of_one_waits_for_the_other(self, server: FaultServer) -> None:
        asked = asyncio.Event()
        async with Calls(server) as calls:
            server.script("/", wait_for(asked), reset())
            task = asyncio.create_task(calls.call(hedge_after=0.05))
            await until(lambda: server.seen("/").attempts == 2)
            await asyncio.sleep(0.05)
            asked.set()

            assert (await task).status == 200

    async def test_is_off_by_default_and_never_for_writes(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", hang())
            await failure_of(calls, "POST", hedge_after=0.01, attempt=0.1)

        assert server.seen("/").attempts == 1

    async def test_a_quick_answer_is_not_hedged(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            await calls.call(hedge_after=1.0)

        assert server.seen("/").attempts == 1
        assert not calls.reports[0].hedged

    @pytest.mark.parametrize("full", ["places", "retry_burst", "quotas"])
    async def test_is_left_out_where_there_is_no_room(self, server: FaultServer, full: str) -> None:
        changes: dict[str, Any] = {
            "places": {"places": 1},
            "retry_burst": {"retry_burst": 0},
            "quotas": {"quotas": {server.origin: Quota(1, 60.0)}},
        }[full]
        async with Calls(server, **changes) as calls:
            server.script("/", hang())
            server.script("/warm", status(503))
            if full == "retry_burst":
                await failure_of(calls, path="/warm")  # uses the one that is free in ten seconds
            await failure_of(calls, hedge_after=0.02, attempt=0.1, total=0.15)
            (state,) = calls.upstreams.states()

        assert server.seen("/").most_running == 1
        assert state.running == 0


class TestEarlierAnswers:
    async def test_take_the_place_of_a_failure_and_say_so(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", ok(b"[1]"), status(503))
            await calls.call(cache_for=60.0)
            calls.time.moved += 10

            got = await calls.call(cache_for=60.0)

            assert (got.body, got.stale) == (b"[1]", True)
            assert got.age >= 10
            await failure_of(calls)  # this one is not marked as cacheable
            calls.time.moved += 60
            await failure_of(calls, cache_for=60.0)

    @pytest.mark.parametrize("code", [401, 404, 422])
    async def test_do_not_take_the_place_of_a_refusal(self, server: FaultServer, code: int) -> None:
        async with Calls(server) as calls:
            server.script("/", ok(), status(code))
            await calls.call(cache_for=60.0)

            failure = await failure_of(calls, cache_for=60.0)

        assert failure.answered == code

    async def test_are_not_given_to_another_customer(self, server: FaultServer) -> None:
        async with Calls(server) as calls:
            server.script("/", ok(), status(503))
            await calls.call(headers={"Authorization": "Bearer ada"}, cache_for=60.0)

            await failure_of(calls, headers={"Authorization": "Bearer bob"}, cache_for=60.0)
            got = await calls.call(
                headers={"Authorization": "Bearer ada", "X-Correlation-Id": "another"},
                cache_for=60.0,
            )

        assert got.stale

    async def test_are_used_only_so_often_in_a_row(self, server: FaultServer) -> None:
        async with Calls(server, stale_in_a_row=2) as calls:
            server.script("/", ok(), status(503))
            await calls.call(cache_for=600.0)
            for _ in range(2):
                assert (await calls.call(cache_for=600.0)).stale

            await failure_of(calls, cache_for=600.0)


class TestAnotherOrigin:
    def request(self, other: FaultServer, method: str = "GET") -> tuple[httpx.Request, ...]:
        headers = {"Authorization": "Bearer of the other"}
        return (httpx.Request(method, other.url("/other"), headers=headers),)

    async def test_is_asked_for_a_read_with_its_own_credentials(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", status(503))

            answer = await calls.call(
                headers={"Authorization": "Bearer of the first"},
                alternatives=self.request(other),
            )

            assert answer.origin == other.origin
            assert other.seen("/other").headers[0]["authorization"] == "Bearer of the other"

    async def test_has_time_left_although_the_first_one_hangs(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", hang())

            answer = await calls.call(alternatives=self.request(other), total=1.2, attempt=1.2)

            assert answer.origin == other.origin

    async def test_is_not_asked_for_a_write_that_was_sent(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", after_effect(status(503)))

            failure = await failure_of(calls, "POST", alternatives=self.request(other, "POST"))

            assert failure.outcome == "unknown"
            assert other.connections == 0

    async def test_is_asked_for_a_write_that_was_never_sent(self, server: FaultServer) -> None:
        begun: list[str] = []

        async def before() -> None:
            begun.append("begun")

        dead = FaultServer(port=free_port())
        async with Calls(dead) as calls:
            await calls.call(
                "POST", alternatives=self.request(server, "POST"), before_sending=before
            )

        assert server.seen("/other").effects == 1
        assert begun == ["begun"]

    @pytest.mark.parametrize("code", [401, 404, 422])
    async def test_is_not_asked_after_a_refusal(self, server: FaultServer, code: int) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", status(code))

            await failure_of(calls, alternatives=self.request(other))

            assert other.connections == 0

    async def test_is_asked_only_so_often_in_a_row(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server, fallbacks_in_a_row=2) as calls:
            server.script("/", status(503))
            for _ in range(2):
                await calls.call(alternatives=self.request(other))

            await failure_of(calls, alternatives=self.request(other))

    async def test_fails_as_the_last_one_did(self, server: FaultServer) -> None:
        async with FaultServer() as other, Calls(server) as calls:
            server.script("/", status(503))
            other.script("/other", status(404))

            failure = await failure_of(calls, alternatives=self.request(other))

        assert failure.answered == 404


class TestHooks:
    async def test_are_told_of_everything(self, server: FaultServer) -> None:
        told: list[tuple[object, ...]] = []

        def note(name: str) -> Callable[..., None]:
            return lambda *what: told.append((name, *what))

        def attempt(origin: str, group: str, report: AttemptReport) -> None:
            told.append(("attempt", origin, group, report.outcome))

        hooks = Hooks(
            attempt=attempt,
            retry=note("retry"),
            budget_exhausted=note("budget"),
            breaker=note("breaker"),
            stale=note("stale"),
        )
        async with Calls(server, hooks=hooks) as calls:
            server.script("/", ok(), status(503))
            for _ in range(6):
                await calls.call(cache_for=60.0, on_attempt=None)

        origin = server.origin
        assert told[:3] == [
            ("attempt", origin, "all", "done"),
            ("attempt", origin, "all", "rejected"),
            ("retry", origin, "all", ErrorCategory.RETRYABLE, 0.1),
        ]
        assert ("stale", origin, "all") in told
        assert ("breaker", origin, "all", "open") in told


async def test_in_the_mode_for_tests_nothing_waits(server: FaultServer) -> None:
    async with Calls(server) as calls:
        server.script("/", status(503))
        with instant_retries(attempts=2):
            await failure_of(calls)

    assert server.seen("/").attempts == 2
    assert calls.time.waits == [0.0]


class TestForbiddenAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.2:{port}/",
            "http://2130706434:{port}/",
            "http://0x7f000002:{port}/",
            "http://0x7f.2:{port}/",
            "http://017700000002:{port}/",
            "http://127.2:{port}/",
            "http://[::ffff:127.0.0.2]:{port}/",
            "http://[::127.0.0.2]:{port}/",
            "http://[64:ff9b::7f00:2]:{port}/",
            "http://[2002:7f00:2::]:{port}/",
            "http://[::1]:{port}/",
            "http://127.0.0.1:80@127.0.0.2:{port}/",
            "http://user:pass@127.0.0.2:{port}/",
            "http://0:{port}/",
            "http://169.254.169.254/latest/meta-data",
        ],
    )
    async def test_are_not_contacted(self, url: str) -> None:
        async with FaultServer(host="127.0.0.2") as sink, Calls(sink) as calls:
            failure = await failure_of(calls, url=url.format(port=sink.port))

            assert failure.code == "API_FORBIDDEN_ADDRESS"
            assert (failure.category, failure.outcome) == (ErrorCategory.NON_RETRYABLE, "not_sent")
            assert sink.connections == 0
            assert calls.time.waits == []

    async def test_a_redirect_there_is_not_followed(self, server: FaultServer) -> None:
        async with FaultServer(host="127.0.0.2") as sink, Calls(server) as calls:
            server.script("/", status(307, f"Location: {sink.url()}"))

            await failure_of(calls)

            assert sink.connections == 0

    async def test_a_name_is_resolved_once_and_connected_to_as_checked(
        self, server: FaultServer
    ) -> None:
        answers = [["127.0.0.1"], ["127.0.0.2"]]
        asked: list[str] = []

        async def rebinding(host: str, _: int) -> list[str]:
            asked.append(host)
            return answers[min(len(asked) - 1, 1)]

        async with Calls(server, resolver=rebinding) as calls:
            await calls.call(url=f"http://shop.test:{server.port}/")

        assert asked == ["shop.test"]
        assert server.seen("/").headers[0]["host"] == f"shop.test:{server.port}"

    async def test_one_forbidden_address_among_good_ones_is_enough(
        self, server: FaultServer
    ) -> None:
        async def mixed(_host: str, _port: int) -> list[str]:
            return ["127.0.0.1", "10.0.0.1"]

        async with Calls(server, resolver=mixed) as calls:
            failure = await failure_of(calls, url=f"http://shop.test:{server.port}/")

        assert failure.code == "API_FORBIDDEN_ADDRESS"
        assert server.connections == 0

    async def test_a_dead_address_does_not_hide_a_living_one(self, server: FaultServer) -> None:
        async def two(_host: str, _port: int) -> list[str]:
            return ["127.0.0.3", "127.0.0.1"]

        policy = AddressPolicy.parse(["127.0.0.0/8"])
        async with Calls(server, addresses=policy, resolver=two) as calls:
            answer = await calls.call(url=f"http://shop.test:{server.port}/")

        assert answer.status == 200
