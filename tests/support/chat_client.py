"""A small client of the chat protocol, written from docs/protocol.md alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]

ENDS = {"RUN_FINISHED", "RUN_ERROR"}
PATIENCE = 20.0


@dataclass
class Transcript:
    """What a client shows, and how far it is: a pure function of the frames it was given."""

    last_seq: int = 0
    messages: dict[str, list[str]] = field(default_factory=dict)
    """Role and text of each message, in the order they began."""
    calls: dict[str, list[str]] = field(default_factory=dict)
    """Tool, arguments and result of each tool call."""
    told: list[Any] = field(default_factory=list)
    """Everything else that was told: runs and custom events."""
    seqs: list[int] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        """Apply one event frame."""
        event = frame["event"]
        match event["type"]:
            case "TEXT_MESSAGE_START":
                self.messages[event["messageId"]] = [event["role"], ""]
            case "TEXT_MESSAGE_CONTENT":
                message = self.messages[event["messageId"]]
                place = frame.get("offset", len(message[1]))
                assert place <= len(message[1]), "a gap in the text"
                message[1] = message[1][:place] + event["delta"]
            case "TOOL_CALL_START":
                self.calls[event["toolCallId"]] = [event["toolCallName"], "", ""]
            case "TOOL_CALL_ARGS":
                self.calls[event["toolCallId"]][1] += event["delta"]
            case "TOOL_CALL_RESULT":
                self.calls[event["toolCallId"]][2] = event["content"]
            case "TEXT_MESSAGE_END" | "TOOL_CALL_END":
                pass
            case _:
                self.told.append(event)
        if frame["seq"] is not None:
            self.seqs.append(frame["seq"])
            self.last_seq = max(self.last_seq, frame["seq"])

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Who said what, in order."""
        return [(role, text) for role, text in self.messages.values()]


def transcript_of(frames: Iterable[Frame], shown: Transcript | None = None) -> Transcript:
    """What a client shows after these frames, those that are no events left out."""
    transcript = shown or Transcript()
    for frame in frames:
        if "event" in frame:
            transcript.take(frame)
    return transcript


class ChatClient:
    """One connection. Every frame that came is kept in `frames`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self._messages = 0

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def receive(self) -> Frame:
        """The next frame; TimeoutError if none comes, ConnectionClosed if none can."""
        async with asyncio.timeout(PATIENCE):
            frame: Frame = json.loads(await self.socket.recv())
        self.frames.append(frame)
        return frame

    async def until(self, found: Callable[[Frame], Any]) -> list[Frame]:
        """The frames up to the first that is `found`, that one included."""
        frames = [await self.receive()]
        while not found(frames[-1]):
            frames.append(await self.receive())
        return frames

    async def only(self, key: str) -> Any:
        """The value of the next frame that has this key; events before it are kept only."""
        return (await self.until(lambda frame: key in frame))[-1][key]

    async def hello(self, token: str) -> Frame:
        await self.send("hello", token=token)
        return await self.receive()

    async def follow(self, thread_id: str, last_seq: int = 0) -> list[Frame]:
        """Resume a thread; everything up to `resumed`."""
        await self.send("resume", thread_id=thread_id, last_seq=last_seq)
        return await self.until(lambda frame: "resumed" in frame or "error" in frame)

    async def write(self, thread_id: str, text: str, message_id: str | None = None) -> None:
        self._messages += 1
        name = message_id or f"m{self._messages}"
        await self.send("send", thread_id=thread_id, message_id=name, text=text)

    async def turn(self) -> list[Frame]:
        """The frames until a turn ends or waits."""
        return await self.until(lambda frame: frame.get("event", {}).get("type") in ENDS)

    async def alive(self) -> bool:
        """Whether a ping is answered."""
        await self.send("ping")
        return await self.only("pong") == {}

    async def closed(self) -> tuple[list[Frame], int]:
        """What came until the socket was closed, and the code it was closed with."""
        frames = []
        try:
            while True:
                frames.append(await self.receive())
        except ConnectionClosed as closed:
            return frames, closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[ChatClient]:
    """A socket that has said nothing yet."""
    url = address.replace("http", "ws", 1) + "/api/chat"
    async with connect(url, proxy=None, max_size=None, **options) as socket:
        yield ChatClient(socket)
