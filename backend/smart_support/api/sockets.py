"""The open chat sockets of this process: how many one person or address may have, and how long."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.identity.people import Person

log = structlog.get_logger()

CHECK_SECONDS = 3.0
"""How often those who are signed in are looked at; a token that ended is noticed within it."""

TELL_SECONDS = 2.0
"""How long one client may take to be told something before others are told."""

_AT_ONCE = 200
"""Tokens that are read, and clients that are told, before something else gets its turn."""


class TooManySockets(SupportError):
    """A person or an address has as many sockets open as it may."""

    code = "CONN_TOO_MANY_SOCKETS"
    status = 429
    category = ErrorCategory.RETRYABLE
    severity = Severity.LOW
    user_message = "There are too many open chat windows. Please close one."


class SignedIn(Protocol):
    """A socket that somebody has signed in on."""

    token: str
    valid_until: float
    """When the token ends, in seconds since 1970."""

    async def sign_out(self, error: SupportError) -> None:
        """Say why, and close, within a few seconds whether or not the other side reads."""
        ...

    async def tell_degraded(self) -> None:
        """Say what works less well now, unless that was said last.

        Raises:
            TimeoutError: it was not taken.
        """
        ...


class Sockets:
    """All sockets of this process."""

    def __init__(self, *, per_person: int, per_address: int) -> None:
        self._per_person = per_person
        self._per_address = per_address
        self._of_person: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()
        self._signed_in: set[SignedIn] = set()

    @contextmanager
    def from_address(self, address: str) -> Iterator[None]:
        """Count a socket of this address for as long as the block lasts.

        Raises:
            TooManySockets: it has as many as it may.
        """
        with _counted(self._of_address, address, self._per_address):
            yield

    @contextmanager
    def of(self, person: Person, socket: SignedIn) -> Iterator[None]:
        """Count a socket of this person for as long as the block lasts, and watch its token.

        Raises:
            TooManySockets: they have as many as they may.
        """
        with _counted(self._of_person, f"{person.role.value} {person.id}", self._per_person):
            self._signed_in.add(socket)
            try:
                yield
            finally:
                self._signed_in.discard(socket)

    async def tell_degraded(self) -> int:
        """Have each of them say what works less well now; how many did not take it in time."""
        sockets, behind = list(self._signed_in), 0
        for place in range(0, len(sockets), _AT_ONCE):
            told = await asyncio.gather(
                *(_in_time(socket.tell_degraded()) for socket in sockets[place : place + _AT_ONCE])
            )
            behind += told.count(False)
        return behind

    def __len__(self) -> int:
        return self._of_address.total()

    async def watch(
        self,
        check: Callable[[str], object],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign those out whose token has ended and `check` refuses it, until cancelled.

        One that does not read keeps nobody else signed in. Nothing but time ends a token that
        was good, so that looking at the time is enough: to verify ten thousand of them again and
        again would take a tenth of a processor.
        """
        while True:
            await sleep(CHECK_SECONDS)
            now = clock()
            ended = [socket for socket in self._signed_in if socket.valid_until <= now]
            for place in range(0, len(ended), _AT_ONCE):
                several = ended[place : place + _AT_ONCE]
                await asyncio.gather(*(_sign_out(socket, check) for socket in several))


async def _sign_out(socket: SignedIn, check: Callable[[str], object]) -> None:
    try:
        check(socket.token)
    except SupportError as error:
        log.info("socket_signed_out", code=error.code)
        await socket.sign_out(error)


async def _in_time(telling: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(TELL_SECONDS):
            await telling
    except TimeoutError:
        return False
    return True


@contextmanager
def _counted(counter: "Counter[str]", name: str, most: int) -> Iterator[None]:
    if counter[name] >= most:
        raise TooManySockets(f"{name} has {most} sockets")
    counter[name] += 1
    try:
        yield
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]
