"""The chat socket: frames in, events out, as `docs/protocol.md` says.

One place turns an exception into a frame, and the socket outlives all of them.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Response, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from smart_support.api.agui import Speaker
from smart_support.api.approvals import answer, check_answer
from smart_support.api.degraded import degraded_for_customers
from smart_support.api.parts import Parts, parts_of
from smart_support.api.sockets import TooManySockets
from smart_support.chat.follow import Moved, TooSlow
from smart_support.chat.limits import FrameBucket
from smart_support.errors import (
    ClientAction,
    DatabaseUnavailable,
    InvalidInput,
    NotAllowed,
    NotSignedIn,
    RateLimited,
    SupportError,
)
from smart_support.events.records import Event, MessageFinished
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import SignIn
from smart_support.telemetry import metrics
from smart_support.telemetry.handler import ErrorContext, Handled
from smart_support.telemetry.logs import new_correlation_id
from smart_support.telemetry.words import preferred

log = structlog.get_logger()
router = APIRouter()
Result = TypeVar("Result")

PROTOCOL = 3
"""The version of docs/protocol.md. It grows when a frame or field is added."""
MAX_FRAME_BYTES = 64 * 1024
MAX_TEXT = 8_000
HELLO_SECONDS = 10.0
SEND_SECONDS = 20.0
ACT_SECONDS = 4.5
PASSES = 3
"""Turns of the event loop in which it comes to everything that has arrived."""

CLOSE_SECONDS = 2.0
PAGE = 500
NEWEST = 20
MAX_FOLLOWED = 200
"""Threads that one socket may follow."""
BURST_SECONDS = 10
"""Frames of so many seconds may come at once: a page that comes back resumes all its threads."""

CLOSE_NOT_SIGNED_IN = 4401
CLOSE_NOT_ALLOWED = 4403
CLOSE_TOO_MANY = 4429


class _Frame(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Hello(_Frame):
    """Who I am; the first frame."""

    type: Literal["hello"]
    token: str = Field(max_length=8_192)


class Resume(_Frame):
    """Follow a thread from after `last_seq` on."""

    type: Literal["resume"]
    thread_id: UUID
    last_seq: int = Field(0, ge=0, lt=2**63)


class Send(_Frame):
    """A message; the same id again is not a second message."""

    type: Literal["send"]
    thread_id: UUID
    message_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    text: str = Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")


class Cancel(_Frame):
    """Stop answering."""

    type: Literal["cancel"]
    thread_id: UUID


class Decide(_Frame):
    """Answer a question for approval."""

    type: Literal["decide"]
    approval_id: UUID
    decision: Literal["approve", "reject", "respond", "edit"]
    reason: str | None = Field(None, max_length=1_000)
    arguments: dict[str, Any] | None = None
    standing: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_answer(self.decision, self.reason, self.arguments)
        return self


class Ping(_Frame):
    """Ask whether the other side is there."""

    type: Literal["ping"]


_FRAMES: TypeAdapter[Hello | Resume | Send | Cancel | Decide | Ping] = TypeAdapter(
    Annotated[Hello | Resume | Send | Cancel | Decide | Ping, Field(discriminator="type")]
)


class FrameTooLarge(SupportError):
    """A frame that is larger than the protocol allows; it was read and thrown away."""

    code = "CONN_FRAME_TOO_LARGE"
    status = 413
    user_message = "That message is too long."


class BinaryFrame(SupportError):
    """The protocol speaks text frames only."""

    code = "CONN_BINARY_FRAME"
    status = 415
    user_message = "I can only read text."


class TooManyFollowed(SupportError):
    """One socket follows as many threads as it may."""

    code = "CONN_TOO_MANY_FOLLOWED"
    status = 429
    user_message = "Too many conversations are open here. Please reload the page."


class TooManyFrames(RateLimited):
    """One socket sends more frames than it may, of whatever kind."""

    code = "RATE_TOO_MANY_FRAMES"
    user_message = "That was too much at once. Please wait a moment and try again."
    action = ClientAction.WAIT
    close_code = CLOSE_TOO_MANY


async def chat(socket: WebSocket) -> None:
    """Speak the chat protocol with one client until it goes."""
    parts = parts_of(socket)
    if not _from_allowed_site(socket, parts.settings.origins()):
        log.warning("socket_refused", reason="origin", origin=socket.headers.get("origin"))
        await socket.close(CLOSE_NOT_ALLOWED)
        return
    try:
        with parts.sockets.from_address(socket.client.host if socket.client else ""):
            await socket.accept()
            await _speak(socket, parts)
    except TooManySockets as error:
        log.warning("socket_refused", reason="too many", error=str(error))
        await socket.send_denial_response(Response(error.user_message, 429))


# Starlette's kind of route: what FastAPI's does for dependencies, of which there are none here,
# stays in memory for as long as the socket is open.
router.add_websocket_route("/api/chat", chat, name="chat")


async def _speak(socket: WebSocket, parts: Parts) -> None:
    try:
        greeted = await _greet(socket, parts)
    except (WebSocketDisconnect, TimeoutError):
        await _close(socket, CLOSE_NOT_SIGNED_IN)
        return
    if greeted is None:
        return
    person = greeted.person
    async with _Conversation(socket, parts, greeted) as conversation:
        try:
            with parts.sockets.of(person, conversation):
                await conversation.welcome()
                with metrics.SOCKETS.track_inprogress():
                    await conversation.listen()
        except TooManySockets as error:
            await conversation.refuse(error, CLOSE_TOO_MANY)
        except (WebSocketDisconnect, TimeoutError):
            return


def _from_allowed_site(socket: WebSocket, allowed: frozenset[str]) -> bool:
    """A browser says which site opened the socket; other clients say nothing."""
    origin = socket.headers.get("origin")
    if origin is None or origin in allowed:
        return True
    try:
        site = urlsplit(origin)
    except ValueError:
        return False
    return site.scheme in {"http", "https"} and site.netloc == socket.headers.get("host")


async def _greet(socket: WebSocket, parts: Parts) -> SignIn | None:
    async with asyncio.timeout(parts.hello_seconds):
        message = await socket.receive()
    try:
        frame = _parse(message)
        if not isinstance(frame, Hello):
            raise NotSignedIn("the first frame was no hello")
        sign_in = parts.sign_ins.read(frame.token)
        if sign_in.person.role is Role.OPERATOR:
            raise NotAllowed("operators have no chat")
    except WebSocketDisconnect:
        raise
    except Exception as error:  # noqa: BLE001 - the handler has them all
        handled = _handled(socket, parts, error, "hello")
        await _send(socket, {"error": _error(handled, None)})
        # Whatever a client says wrong at first, it has not signed in.
        ours = handled.status >= 500 or isinstance(error, NotAllowed)
        await _close(socket, handled.close_code if ours else CLOSE_NOT_SIGNED_IN)
        return None
    return sign_in


class _Conversation:
    """One signed-in socket and the threads that it follows."""

    def __init__(self, socket: WebSocket, parts: Parts, sign_in: SignIn) -> None:
        self.sign_in = sign_in
        self._socket = socket
        self._parts = parts
        self._person = sign_in.person
        self._sending = asyncio.Lock()
        self._degraded: list[str] | None = None
        self._follows: dict[str, asyncio.Task[None]] = {}
        rate = parts.settings.smart_support_frames_per_second
        self._frames = FrameBucket(rate, math.ceil(rate * BURST_SECONDS))
        self._listening: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        follows = list(self._follows.values())
        for task in follows:
            task.cancel()
        await asyncio.gather(*follows, return_exceptions=True)

    async def welcome(self) -> None:
        """Say who is signed in."""
        person = self._person
        about = {"id": person.id, "role": person.role.value, "name": person.name}
        async with self._sending:
            self._degraded = degraded_for_customers(self._parts)
            ready = {
                "protocol": PROTOCOL,
                "person": about,
                "offline_model": self._parts.offline_model,
                "degraded": self._degraded,
            }
            await _send(self._socket, {"ready": ready})

    async def tell_degraded(self) -> None:
        """Say what works less well now, unless that was said last, or nobody was greeted yet.

        Raises:
            TimeoutError: it was not taken.
        """
        async with self._sending:  # what waits here says what is so then, not what was so before
            now = degraded_for_customers(self._parts)
            if self._degraded is None or now == self._degraded:
                return
            with contextlib.suppress(WebSocketDisconnect):
                await _send(self._socket, {"degraded": now})
            self._degraded = now

    async def refuse(self, error: SupportError, code: int) -> None:
        """Say why, and close."""
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            await self._say({"error": _error(self._handled(error, "refuse"), None)})
        await self._close(code)

    async def sign_out(self, error: SupportError) -> None:
        """Close, since the token does not hold any more. Does not wait for a slow reader."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.refuse(error, CLOSE_NOT_SIGNED_IN)
        self._listen_no_more()

    async def listen(self) -> None:
        """Read frames until the client is gone. A bad one costs an error frame, no more."""
        try:
            async with asyncio.timeout(None) as self._listening:
                while True:
                    message = await self._socket.receive()
                    if message["type"] == "websocket.disconnect":
                        return
                    await self._take(message)
        except (WebSocketDisconnect, TimeoutError):
            return
        finally:
            self._listening = None

    async def _close(self, code: int) -> None:
        """Close, and listen no more, whether or not the client reads that."""
        await _close(self._socket, code)
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        """Be done with the client; its connection ends with that, whatever it still has to read."""
        if self._listening is not None:
            self._listening.reschedule(asyncio.get_running_loop().time())

    async def _take(self, message: Any) -> None:
        correlation_id = new_correlation_id()
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            ref, kind = None, "frame"
            try:
                if wait := self._frames.take():
                    ref = _ref_of(message)
                    raise TooManyFrames(wait)
                frame = _parse(message)
                ref, kind = _ref(frame), type(frame).__name__.lower()
                await self._act(frame)
            except (WebSocketDisconnect, TimeoutError):
                raise
            except TooManyFrames as error:
                await self._say({"error": _error(self._handled(error, kind), ref)})
                if self._frames.flooding:
                    log.warning("socket_closed", reason="flooding", user_id=self._person.id)
                    await self._close(error.close_code)
            except Exception as error:  # noqa: BLE001 - the handler has them all
                handled = self._handled(error, kind)
                await self._say({"error": _error(handled, ref)})

    def _handled(self, error: Exception, operation: str, thread_id: str | None = None) -> Handled:
        return _handled(
            self._socket, self._parts, error, operation, person=self._person, thread_id=thread_id
        )

    async def _act(self, frame: BaseModel) -> None:
        runner = self._parts.runner
        match frame:
            case Ping():
                await self._say({"pong": {}})
            case Resume():
                await self._follow(str(frame.thread_id), frame.last_seq)
            case Send():
                await self._take_in(frame)
            case Hello():
                raise InvalidInput("hello was said already")
            case _ if self._person.role is not Role.CUSTOMER:
                raise NotAllowed("only the customer decides and cancels")
            case Cancel():
                await self._in_time(runner.cancel(self._person, str(frame.thread_id)))
            case Decide():
                await self._in_time(
                    answer(
                        self._parts,
                        self._person,
                        str(frame.approval_id),
                        frame.decision,
                        reason=frame.reason,
                        arguments=frame.arguments,
                        standing=frame.standing,
                    )
                )

    async def _take_in(self, frame: Send) -> None:
        thread_id, turn_id, status = str(frame.thread_id), None, "to_customer"
        if self._person.role is Role.LEAD:
            await self._stored(
                thread_id,
                self._parts.desk.answer(self._person, thread_id, frame.message_id, frame.text),
            )
        else:
            accepted = await self._stored(
                thread_id,
                self._parts.runner.send(self._person, thread_id, frame.message_id, frame.text),
            )
            turn_id, status = accepted.turn_id, accepted.status
        await self._say(
            {
                "ack": {
                    "thread_id": thread_id,
                    "message_id": frame.message_id,
                    "turn_id": turn_id,
                    "status": status,
                }
            }
        )

    async def _follow(self, thread_id: str, last_seq: int) -> None:
        # Whose thread it is decides here, before anything of it is read. A lead reads all.
        owner = self._person.id if self._person.role is Role.CUSTOMER else None
        await self._in_time(self._parts.conversations.thread(thread_id, customer_id=owner))
        if (before := self._follows.pop(thread_id, None)) is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        if len(self._follows) >= MAX_FOLLOWED:
            raise TooManyFollowed(f"{MAX_FOLLOWED} threads on one socket")
        self._follows[thread_id] = asyncio.create_task(
            self._pump(thread_id, last_seq), name=f"follow {thread_id}"
        )

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        """Do `work`, or say that it could not be done; what is being stored may still be stored.

        Raises:
            DatabaseUnavailable: it takes too long.
        """
        seconds = self._parts.act_seconds
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:  # ours, or one below: either way nobody may wait in silence
            raise DatabaseUnavailable(f"not done within {seconds:g} s", silent=True) from error

    async def _stored(self, thread_id: str, work: Awaitable[Result]) -> Result:
        """As `_in_time`, of a thread's message; it is told apart who was too slow.

        Raises:
            Busy: the database has answered meanwhile, so that it was this process.
        """
        began = time.monotonic()
        try:
            return await self._in_time(work)
        except DatabaseUnavailable as error:
            if not error.silent:
                raise
            for _ in range(PASSES):  # what the database has said by now is heard
                await asyncio.sleep(0)
            if self._parts.database_heard() > began:
                raise self._parts.runner.busy(f"not stored in time: {error}", thread_id) from error
            raise

    async def _pump(self, thread_id: str, last_seq: int) -> None:
        try:
            with self._parts.followers.follow(thread_id) as follower:
                seq = await self._check_place(thread_id, last_seq)
                speaker = Speaker(thread_id, seq)
                seq = await self._say_past(speaker, thread_id, seq)
                await self._say({"resumed": {"thread_id": thread_id, "last_seq": seq}})
                while True:
                    item = await follower.next()
                    if isinstance(item, Moved):
                        if item.seq > seq:
                            seq = await self._say_past(speaker, thread_id, seq)
                    elif isinstance(item, Event) and item.seq > seq + 1:
                        # Calls that run side by side tell of themselves out of order, and what a
                        # stopped turn leaves is told by nobody: the log has it all, in order.
                        seq = await self._say_past(speaker, thread_id, seq)
                    elif not isinstance(item, Event) or item.seq == seq + 1:
                        if speaker.doubts(item):
                            speaker.believe(item, await self._finished(thread_id))
                        await self._say_all(speaker, item)
                        seq += isinstance(item, Event)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the handler has them all
            if isinstance(error, TimeoutError):
                error = TooSlow("a frame was not taken in time")
            handled = self._handled(error, "follow", thread_id)
            with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
                if not isinstance(error, TooSlow):  # it would not take a frame either
                    await self._say({"error": _error(handled, thread_id)})
            await self._close(handled.close_code)

    async def _check_place(self, thread_id: str, last_seq: int) -> int:
        """Where to go on from: `last_seq`, unless the log does not have what comes after it.

        Then the client is told to drop what it has, and gets all that there is.
        """
        if last_seq == 0:
            return 0
        first = await self._parts.log.read(thread_id, after=last_seq, limit=1)
        if first and first[0].seq == last_seq + 1:
            return last_seq
        # Meanwhile there may be more, which is no reason to begin anew.
        if not first and await self._parts.log.last_seq(thread_id) >= last_seq:
            return last_seq
        reason = "too_old" if first else "unknown"
        log.warning("resume_reset", thread_id=thread_id, last_seq=last_seq, reason=reason)
        await self._say({"reset": {"thread_id": thread_id, "reason": reason}})
        return 0

    async def _say_past(self, speaker: Speaker, thread_id: str, seq: int) -> int:
        """Say everything after `seq`; the number of the last of it."""
        while events := await self._parts.log.read(thread_id, after=seq, limit=PAGE):
            for event in events:
                await self._say_all(speaker, event)
            seq = events[-1].seq
        return seq

    async def _finished(self, thread_id: str) -> list[str]:
        """The thread's newest answers: more than can be finished while a word is on its way."""
        newest = await self._parts.log.read_turns(thread_id, [MessageFinished.type], last=NEWEST)
        facts = [event.fact for event in newest]
        return [fact.message_id for fact in facts if isinstance(fact, MessageFinished)]

    async def _say_all(self, speaker: Speaker, item: Any) -> None:
        for frame in speaker.frames(item):
            await self._say(frame)

    async def _say(self, frame: dict[str, Any]) -> None:
        async with self._sending:
            await _send(self._socket, frame)


def _parse(message: Any) -> BaseModel:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    if message.get("bytes") is not None:
        raise BinaryFrame("a binary frame")
    text: str = message["text"]
    if len(text) > MAX_FRAME_BYTES or len(text.encode("utf-8", "replace")) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a frame of {len(text)} characters")
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error}") from None
    try:
        return _FRAMES.validate_python(data)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in wrong["loc"])
        # Of a type that there is not, the library's words repeat what was sent.
        said = "no such type" if wrong["type"] == "union_tag_invalid" else wrong["msg"]
        raise InvalidInput(f"{place or 'frame'}: {said}") from None


def _ref_of(message: Any) -> str | None:
    """What a frame that is not looked into any further is about, if it says so."""
    with contextlib.suppress(SupportError):
        return _ref(_parse(message))
    return None


def _ref(frame: BaseModel) -> str | None:
    match frame:
        case Send():
            return frame.message_id
        case Decide():
            return str(frame.approval_id)
        case Resume() | Cancel():
            return str(frame.thread_id)
    return None


def _handled(
    socket: WebSocket,
    parts: Parts,
    error: Exception,
    operation: str,
    *,
    person: Person | None = None,
    thread_id: str | None = None,
) -> Handled:
    return parts.errors.handle(
        error,
        ErrorContext(
            place="socket",
            operation=operation,
            user_id=person.id if person else None,
            thread_id=thread_id,
            language=preferred(socket.headers.get("accept-language")),
        ),
    )


def _error(handled: Handled, ref: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "code": handled.code,
        "message": handled.message,
        "action": handled.action.value,
        "correlation_id": handled.correlation_id,
    }
    if isinstance(handled.error, InvalidInput):
        said["detail"] = str(handled.error)
    if handled.retry_after is not None:
        # Rounded up: a client that waits so long must not come too early.
        said["retry_after"] = math.ceil(handled.retry_after * 1000) / 1000
    if ref is not None:
        said["ref"] = ref
    return said


async def _close(socket: WebSocket, code: int) -> None:
    """Close, without waiting long for one that does not read."""
    with contextlib.suppress(RuntimeError, TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code)


async def _send(socket: WebSocket, frame: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await socket.send_text(orjson.dumps(frame).decode())
    except RuntimeError as error:  # Starlette's word for a socket that was closed meanwhile
        raise WebSocketDisconnect(1006) from error
