"""Log lines: an event name and fields, without secrets, written beside the event loop.

Our own lines (structlog) and those of libraries (logging) go through one renderer. Bind
`correlation_id`, `thread_id` and `turn_id` with `structlog.contextvars`; every line then has them.
"""

import contextlib
import json
import logging
import queue
import re
import sys
from collections.abc import Iterator, Mapping
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

import orjson
import structlog
import uuid_utils
from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict, Processor

HIDDEN = "[hidden]"
QUEUE_LINES = 10_000
STOP_SECONDS = 5.0
DEEPEST = 8  # levels of nested fields that are shown

# They log whole requests, which hold what customers wrote.
_TALKATIVE = (
    "alembic",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "langsmith",
    "openai",
    "urllib3",
    "uvicorn",
)

_SECRET_NAME = re.compile(
    r"authori[sz]ation|api[-_]?key|token|passw|passphrase|secret|cookie|credential|private[-_]?key",
    re.IGNORECASE,
)
# How many tokens a model took is no secret.
_COUNT_NAME = re.compile(r"(^|_)tokens$", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"(\w://[^\s:/@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),  # user:password@host
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\bsk-[\w-]{8,}"), HIDDEN),  # a key of a model endpoint
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),  # a JSON Web Token
    (
        re.compile(r"([?&][\w-]*(?:token|key|secret|password)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)


@contextlib.contextmanager
def configure_logs(
    level: str = "INFO",
    format: str = "console",  # noqa: A002 - the word of the setting
    *,
    stream: TextIO | None = None,
    queue_lines: int = QUEUE_LINES,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[None]:
    """Write every log line of this process, inside the block, to `stream`.

    Lines are rendered where they are logged, so that they show what was then, and written by a
    thread of its own. At the end of the block what is queued is written, and logging is as before.

    Args:
        level: DEBUG, INFO, WARNING or ERROR; lines below it are not logged.
        format: `console` for people, `json` (one object a line) for machines.
        stream: standard error if None.
        queue_lines: how many lines may wait to be written; beyond, lines are dropped and counted.
        stop_seconds: how long the end may take to write what is queued.
    """
    out = sys.stderr if stream is None else stream
    lines: queue.Queue[Any] = queue.Queue(queue_lines)
    writer = _Writer(lines, logging.StreamHandler(out), stop_seconds)
    handler = _Queued(lines)
    handler.setFormatter(_formatter(format, colors=out.isatty()))
    with _sole_handler(handler, level):
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *_SHARED,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        writer.start()
        try:
            yield
        finally:
            structlog.reset_defaults()
            writer.stop()


def new_correlation_id() -> str:
    """An id that joins what a customer was told to what the log says; sorts by time (UUIDv7)."""
    return str(uuid_utils.uuid7())


def hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replace what looks like a secret, by the name of its field or by its own form."""
    return {name: _shown(name, value, 0) for name, value in event.items()}


def _shown(name: str, value: Any, depth: int) -> Any:
    # structlog's own notes, such as the record, are dropped before the line is rendered.
    if name.startswith("_") or value is None:
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if _SECRET_NAME.search(name) and not _COUNT_NAME.search(name):
        return HIDDEN
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if depth == DEEPEST:
            return "[deeper]"
        if isinstance(value, Mapping):
            return {str(key): _shown(str(key), each, depth + 1) for key, each in value.items()}
        return [_shown("", each, depth + 1) for each in value]
    text = value if isinstance(value, str) else str(value)
    for form, replacement in _SECRET_TEXT:
        text = form.sub(replacement, text)
    return text


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    hide_secrets,
]


def _formatter(format: str, *, colors: bool) -> logging.Formatter:  # noqa: A002
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _to_json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event).decode()
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        return json.dumps(event)


@contextlib.contextmanager
def _sole_handler(handler: logging.Handler, level: str) -> Iterator[None]:
    """Give the root logger `handler` alone; in the end restore what it had."""
    root = logging.getLogger()
    talkative = [logging.getLogger(name) for name in _TALKATIVE]
    handlers, levels = root.handlers[:], [(each, each.level) for each in (root, *talkative)]
    root.handlers[:] = [handler]
    root.setLevel(level)
    for each in talkative:
        each.setLevel(max(logging.WARNING, root.level))
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for each, before in levels:
            each.setLevel(before)


class _Queued(QueueHandler):
    """Never waits: what does not fit into the queue is counted, and the count logged later."""

    def __init__(self, lines: "queue.Queue[Any]") -> None:
        super().__init__(lines)
        self._lines = lines
        self._dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1
            return
        if self._dropped and self._lines.qsize() <= self._lines.maxsize // 2:
            dropped, self._dropped = self._dropped, 0
            structlog.get_logger(__name__).warning("log_lines_dropped", count=dropped)


class _Writer(QueueListener):
    """Writes until it is stopped; a stream that takes nothing more cannot hold up the end."""

    def __init__(
        self, lines: "queue.Queue[Any]", handler: logging.Handler, stop_seconds: float
    ) -> None:
        super().__init__(lines, handler)
        self._lines = lines
        self._stop_seconds = stop_seconds

    def stop(self) -> None:
        with contextlib.suppress(queue.Full):  # then it is stuck, and its thread ends with us
            self._lines.put(None, timeout=self._stop_seconds)  # None ends the loop of QueueListener
            if self._thread is not None:
                self._thread.join(self._stop_seconds)
