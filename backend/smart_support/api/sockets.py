"""The open chat sockets of this process: how many one person or address may have, and how long."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import structlog

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.identity.people import Person
from smart_support.identity.tokens import SignIn

log = structlog.get_logger()

CHECK_SECONDS = 3.0
"""How often those who are signed in are looked at; a token that ended is noticed within it."""

TELL_SECONDS = 2.0
"""How long one client may take to be told something before others are told."""

_AT_ONCE = 200
"""Clients that are signed out or told at once, before something else gets its turn."""


class TooManySockets(SupportError):
    """A person or an address has as many sockets open as it may."""

    code = "CONN_TOO_MANY_SOCKETS"
    status = 429
    category = ErrorCategory.RETRYABLE
    severity = Severity.LOW
    user_message = "There are too many open chat windows. Please close one."


class SignedIn(Protocol):
    """A socket that somebody has signed in on."""

    sign_in: SignIn

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
        check: Callable[[SignIn], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign those out whose token has ended and `check` refuses it, until cancelled.

        Looking at the time first is what ten thousand of them can be asked every few seconds.
        """
        while True:
            await sleep(CHECK_SECONDS)
            now = clock()
            ended = [socket for socket in self._signed_in if socket.sign_in.valid_until <= now]
            await _sign_out_refused(ended, check)

    async def sign_out(self, check: Callable[[SignIn], None]) -> None:
        """Sign everybody out whose sign-in `check` refuses, which it says by a SupportError."""
        await _sign_out_refused(list(self._signed_in), check)


async def _sign_out_refused(sockets: Sequence[SignedIn], check: Callable[[SignIn], None]) -> None:
    refused: list[tuple[SignedIn, SupportError]] = []
    for socket in sockets:
        try:
            check(socket.sign_in)
        except SupportError as error:
            refused.append((socket, error))
    for place in range(0, len(refused), _AT_ONCE):
        several = refused[place : place + _AT_ONCE]
        # One that does not read keeps nobody else signed in.
        await asyncio.gather(*(_sign_out(socket, error) for socket, error in several))


async def _sign_out(socket: SignedIn, error: SupportError) -> None:
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
