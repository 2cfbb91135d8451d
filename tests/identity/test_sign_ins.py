"""Sign-ins that are ended: what was issued until then holds no more, what comes after does."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.database import Sessions
from smart_support.errors import NotSignedIn
from smart_support.identity import sign_ins as module
from smart_support.identity.people import Person, Role
from smart_support.identity.sign_ins import SignIns
from smart_support.identity.tokens import LONGEST_LIFE, SignIn, Tokens
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.endings import Ending
from smart_support.security.endings_postgres import HINT, PostgresEndings
from smart_support.telemetry.handler import ErrorHandler

ADA = Person(id="cus_ada", role=Role.CUSTOMER, name="Ada")
START = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BY = {"actor": "operator", "role": "operator"}


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()


def issued(
    at: datetime = START, *, person: Person = ADA, token_id: str = "t", days: float = 1
) -> SignIn:
    """A sign-in of a token that is valid for so many days."""
    ends = min(at + timedelta(days=days), at + LONGEST_LIFE)
    return SignIn(
        person=person,
        token_id=token_id,
        issued_at=at.timestamp(),
        valid_until=ends.timestamp(),
    )


class Kept(PostgresEndings):
    """A table in memory, for laws that are about times alone."""

    def __init__(self) -> None:
        self.rows: list[Ending] = []

    async def end(self, endings: object, **_: object) -> None:
        self.rows.extend(endings)  # type: ignore[arg-type]

    async def noted(self, since: datetime | None) -> tuple[tuple[Ending, ...], datetime]:
        return tuple(self.rows), since or START


def holds(sign_ins: SignIns, sign_in: SignIn) -> bool:
    try:
        sign_ins.check(sign_in)
    except NotSignedIn:
        return False
    return True


MOMENTS = st.one_of(
    st.integers(-3, 3).map(lambda n: n * MICROSECOND),
    st.timedeltas(timedelta(days=-800), timedelta(days=800)),
)


@given(
    ended=st.lists(MOMENTS, min_size=1, max_size=3),
    token=MOMENTS,
    look=MOMENTS,
    days=st.floats(0, 500),
)
async def test_what_was_issued_until_the_last_end_never_holds_again_and_the_rest_does(
    ended: list[timedelta], token: timedelta, look: timedelta, days: float
) -> None:
    """Before, at and after; also when what was ended has been forgotten since."""
    clock = Clock()
    sign_ins = SignIns(Tokens("k"), None, Kept(), clock=clock, now=clock.seconds)  # type: ignore[arg-type]
    for moment in ended:
        clock.at = START + moment
        await sign_ins.end_person(ADA.id, [Role.CUSTOMER], **BY)
    sign_in = issued(START + token, days=days)
    clock.at = START + max(*ended, token, look, key=lambda moment: moment)
    await sign_ins.catch_up()

    good = token > max(ended) and sign_in.valid_until > clock.seconds()
    assert holds(sign_ins, sign_in) is good


@pytest.fixture
def process(sessions: Sessions) -> Callable[[Clock], SignIns]:
    """Each call is a process of its own, on the one database."""

    def start(clock: Clock) -> SignIns:
        return SignIns(
            Tokens("k"),
            PostgresAudit(sessions),
            PostgresEndings(sessions),
            clock=clock,
            now=clock.seconds,
        )

    return start


class TestAnEnd:
    async def test_is_of_one_person_in_one_role(self, process: Callable[[Clock], SignIns]) -> None:
        sign_ins = process(Clock())
        lead = Person(id=ADA.id, role=Role.LEAD, name="Ada")
        bob = Person(id="cus_bob", role=Role.CUSTOMER, name="Bob")

        await sign_ins.end_person(ADA.id, [Role.CUSTOMER], **BY)

        assert not holds(sign_ins, issued())
        assert holds(sign_ins, issued(person=lead))
        assert holds(sign_ins, issued(person=bob))

    async def test_is_known_to_others_once_they_look_and_to_those_who_start(
        self, process: Callable[[Clock], SignIns]
    ) -> None:
        clock = Clock()
        here, there = process(clock), process(clock)
        await there.catch_up()

        await here.end_person(ADA.id, Role, **BY)
        await here.end_token("leaked", **BY)
        before = [holds(there, issued()), holds(there, issued(token_id="leaked", person=BEA))]
        await there.catch_up()
        later = process(clock)
        await later.catch_up()

        assert before == [True, True]
        for one in (here, there, later):
            assert not holds(one, issued())
            assert not holds(one, issued(token_id="leaked", person=BEA))
            assert holds(one, issued(START + MICROSECOND))
            assert holds(one, issued(person=BEA))

    @pytest.mark.parametrize("hint", [True, False], ids=["heard", "not heard"])
    async def test_is_learnt_of_while_running_and_told_on(
        self,
        process: Callable[[Clock], SignIns],
        monkeypatch: pytest.MonkeyPatch,
        *,
        hint: bool,
    ) -> None:
        monkeypatch.setattr(module, "LOOK_SECONDS", 600.0 if hint else 0.01)
        clock, told = Clock(), asyncio.Event()
        here, there = process(clock), process(clock)

        async def tell() -> None:
            told.set()

        running = asyncio.create_task(there.run(tell, ErrorHandler()))
        await here.end_person(ADA.id, Role, **BY)
        if hint:
            there.hear(HINT)
        async with asyncio.timeout(10):
            await told.wait()
        running.cancel()

        assert not holds(there, issued())

    async def test_of_one_token_leaves_the_others_of_the_person(
        self, process: Callable[[Clock], SignIns]
    ) -> None:
        sign_ins = process(Clock())

        await sign_ins.sign_out(issued(token_id="lost"), everywhere=False)

        assert not holds(sign_ins, issued(token_id="lost"))
        assert holds(sign_ins, issued(token_id="kept"))

    async def test_that_came_later_counts_whichever_is_read_last(
        self, process: Callable[[Clock], SignIns]
    ) -> None:
        clock = Clock()
        early, late, other = process(clock), process(Clock()), process(clock)
        clock.at = START + timedelta(hours=1)
        await early.end_person(ADA.id, Role, **BY)
        await late.end_person(ADA.id, Role, **BY)  # whose clock is an hour behind
        await other.catch_up()

        assert not holds(other, issued(START + timedelta(minutes=59)))

    async def test_is_forgotten_when_no_such_token_can_be_valid(
        self, process: Callable[[Clock], SignIns], sessions: Sessions
    ) -> None:
        clock = Clock()
        sign_ins = process(clock)
        clock.at = datetime.now(UTC) - LONGEST_LIFE - timedelta(days=1)
        await sign_ins.end_person("cus_long_ago", Role, **BY)
        clock.at = datetime.now(UTC)
        await sign_ins.end_person(ADA.id, [Role.CUSTOMER], **BY)

        kept, _ = await PostgresEndings(sessions).noted(None)

        assert [one.whose for one in kept] == ["customer cus_ada"]

    async def test_is_in_the_audit_log(
        self, process: Callable[[Clock], SignIns], sessions: Sessions
    ) -> None:
        sign_ins = process(Clock())

        await sign_ins.end_person(ADA.id, [Role.CUSTOMER], **BY)
        await sign_ins.sign_out(issued(token_id="mine"), everywhere=False)
        await sign_ins.sign_out(issued(token_id="mine"), everywhere=True)

        entries = await PostgresAudit(sessions).page(act="sign_ins_ended")
        assert [(one.actor, one.role, one.subject, one.details) for one in reversed(entries)] == [
            ("operator", "operator", "person cus_ada", {"roles": ["customer"]}),
            ("cus_ada", "customer", "token mine", {}),
            ("cus_ada", "customer", "person cus_ada", {"roles": ["customer"]}),
        ]


BEA = Person(id="cus_bea", role=Role.CUSTOMER, name="Bea")
