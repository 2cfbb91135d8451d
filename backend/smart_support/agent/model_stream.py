"""A streamed chat completion: bytes to events, events to one reply."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from smart_support.agent.model_errors import ModelBrokenAnswer, ModelRefused, error_of_answer
from smart_support.agent.reply import Reply, ToolCallRequest, Usage

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""No event of a model is near this; a stream without line ends must not fill the memory."""


class EventReader:
    """Server-sent events out of bytes that were cut anywhere.

    Only `data` counts here; an event's name, id and comments are passed over.
    Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self.done = False
        """`data: [DONE]` has come; what follows it is not looked at."""
        self._rest = b""
        self._data: list[bytes] = []
        self._start = True

    def feed(self, piece: bytes) -> list[Any]:
        """The events that `piece` completes, decoded from JSON.

        Raises:
            ModelBrokenAnswer: an event is no JSON, or longer than `max_event_bytes`.
        """
        if self.done:
            return []
        buffer = self._rest + piece
        if self._start and len(buffer) >= 3:
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._start = False
        if b"\r" in buffer:
            # The last byte may be half of a CR LF.
            held = b"\r" if buffer.endswith(b"\r") else b""
            buffer = buffer[: len(buffer) - len(held)]
            buffer = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            held = b""
        *lines, rest = buffer.split(b"\n")
        self._rest = rest + held
        events: list[Any] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data and self._dispatch(events):
                break
        if len(self._rest) + sum(map(len, self._data)) > self._max_bytes:
            raise ModelBrokenAnswer(f"an event of the model is longer than {self._max_bytes} bytes")
        return events

    def finish(self) -> list[Any]:
        """What is left when the stream ends: some servers omit the last empty line."""
        events = self.feed(b"\n\n")
        if self._data and not self.done:
            self._dispatch(events)
        return events

    def _dispatch(self, events: list[Any]) -> bool:
        data = b"\n".join(self._data).strip()
        self._data.clear()
        if data == b"[DONE]":
            self.done = True
        elif data:
            try:
                events.append(orjson.loads(data))
            except orjson.JSONDecodeError:
                raise ModelBrokenAnswer("an event of the model is no JSON") from None
        return self.done


class Assembly:
    """One reply, put together from the events of its stream."""

    def __init__(self) -> None:
        self._id = ""
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_Call] = []
        self._at_index: dict[int, _Call] = {}
        self._usage: Usage | None = None
        self.finish_reason: str | None = None

    def add(self, event: Any) -> str:
        """Take one event in; the text it adds.

        Raises:
            ModelBrokenAnswer: it is not an event of this protocol.
            SupportError: it is an error of the endpoint, see `error_of_answer`.
        """
        if isinstance(event, Mapping) and event.get("error"):
            raise error_of_answer(None, event)
        try:
            return self._add(event)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ModelBrokenAnswer("an event of the model has a form that is unknown") from None

    def reply(self) -> Reply:
        """The whole reply, after the last event.

        Raises:
            ModelBrokenAnswer: it ended half way, or holds nothing.
            ModelRefused: a content filter ended it.
        """
        calls = [
            ToolCallRequest(
                id=call.id or f"call_{self._id}_{position}",
                name=call.name,
                arguments_json="".join(call.arguments) or "{}",
            )
            for position, call in enumerate(self._calls)
        ]
        return complete(
            text="".join(self._text),
            refusal="".join(self._refusal) or None,
            calls=calls,
            usage=self._usage,
            finish_reason=self.finish_reason,
        )

    def _add(self, event: Any) -> str:
        self._id = event.get("id") or self._id
        if usage := event.get("usage"):
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        added = ""
        for choice in event.get("choices") or ():
            if choice.get("index"):
                continue  # only one answer was asked for
            # A whole message stands where an endpoint does not stream.
            delta = choice.get("delta") or choice.get("message") or {}
            added += delta.get("content") or ""
            if refusal := delta.get("refusal"):
                self._refusal.append(_text(refusal))
            for fragment in delta.get("tool_calls") or ():
                self._add_fragment(fragment)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if added:
            self._text.append(added)
        return added

    def _add_fragment(self, fragment: Mapping[str, Any]) -> None:
        index = fragment.get("index")
        function = fragment.get("function") or {}
        call_id = _text(fragment.get("id") or "")
        call = self._at_index.get(len(self._calls) if index is None else index)
        # Some servers send every parallel call under index 0, or without one: a new id is a new
        # call, and a fragment with neither goes on with the last.
        if index is None and not call_id and self._calls:
            call = self._calls[-1]
        if call is None or (call_id and call.id and call_id != call.id):
            call = _Call()
            self._calls.append(call)
            self._at_index[len(self._calls) - 1 if index is None else int(index)] = call
        call.id = call_id or call.id
        call.name = _text(function.get("name") or "") or call.name
        arguments = function.get("arguments") or ""
        call.arguments.append(
            orjson.dumps(arguments).decode() if isinstance(arguments, Mapping) else _text(arguments)
        )


def complete(
    *,
    text: str,
    refusal: str | None,
    calls: Sequence[ToolCallRequest],
    usage: Usage | None,
    finish_reason: str | None,
) -> Reply:
    """The reply of these parts, if they are a whole one.

    Raises:
        ModelBrokenAnswer: it ended half way, or holds nothing.
        ModelRefused: a content filter ended it.
    """
    if finish_reason is None:
        raise ModelBrokenAnswer("the model's answer ended half way")
    if finish_reason == "content_filter":
        raise ModelRefused("a content filter ended the model's answer")
    if calls and finish_reason == "length":
        raise ModelBrokenAnswer("the model's tool call was cut off at its length limit")
    if not (text.strip() or refusal or calls):
        raise ModelBrokenAnswer("the model's answer is empty")
    if not all(call.name for call in calls):
        raise ModelBrokenAnswer("a tool call of the model names no tool")
    return Reply(text, tuple(calls), usage, finish_reason, refusal)


class _Call:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value
