"""Spans of turns, nodes, model and tool calls, attempts and SQL, by OpenTelemetry.

Off, a span costs one comparison. On, the trace of a turn has the id of its correlation id
without the dashes, so that the replay, the log and the trace name the same thing.

Names and attributes: OpenTelemetry's semantic conventions for GenAI, HTTP and databases. They
hold names, numbers and codes: no text of anybody, no arguments, no addresses with a query.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
SERVICE = "smart-support"
STOP_MILLISECONDS = 5_000

_tracer: "Tracer | None" = None
_trace_id: ContextVar[int | None] = ContextVar("trace_id", default=None)


def tracing() -> bool:
    """Whether spans are made."""
    return _tracer is not None


@contextlib.contextmanager
def configure_tracing(
    endpoint: str | None, *, version: str = "", exporter: "SpanExporter | None" = None
) -> Iterator[None]:
    """Make spans inside the block and send them by OTLP to `endpoint`; neither given: none.

    `endpoint` is a whole address, such as http://collector:4318/v1/traces. A collector that is
    not there costs spans, never an answer. `exporter` is what tests put in its place.
    """
    global _tracer  # noqa: PLW0603 - one per process, as the libraries have it
    if endpoint is None and exporter is None:
        yield
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Takes the id of the turn that is begun for its trace."""

        def generate_trace_id(self) -> int:
            return _trace_id.get() or super().generate_trace_id()

    provider = TracerProvider(
        resource=Resource.create({"service.name": SERVICE, "service.version": version}),
        id_generator=Ids(),
        shutdown_on_exit=False,
    )
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5))
        )
    _tracer = provider.get_tracer(SERVICE, version)
    try:
        yield
    finally:
        _tracer = None
        provider.force_flush(STOP_MILLISECONDS)
        provider.shutdown()


@contextlib.contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, correlation_id: str | None = None
) -> Iterator["Span"]:
    """A span around the block. With `correlation_id` it begins a trace of that id.

    An exception ends it as failed, with the exception's type: its text may hold anything.
    """
    if _tracer is None:
        yield _NO_SPAN
        return
    from opentelemetry.context import Context

    began = None
    if correlation_id is not None:
        began = _trace_id.set(_number(correlation_id))
    try:
        opened = _tracer.start_as_current_span(
            name,
            context=Context() if correlation_id is not None else None,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        with opened as current:
            try:
                yield Span(current)
            except BaseException as error:
                Span(current).fail(getattr(error, "code", None) or type(error).__name__)
                raise
    finally:
        if began is not None:
            _trace_id.reset(began)


def begin_span(name: str, attributes: Attributes) -> "Span":
    """A span that is ended by hand, where there is no block to put it around."""
    return _NO_SPAN if _tracer is None else Span(_tracer.start_span(name, attributes=attributes))


class Span:
    """A span that runs, or nothing at all."""

    __slots__ = ("_span",)

    def __init__(self, current: Any) -> None:
        self._span = current

    def note(self, **attributes: str | float | bool | None) -> None:
        """Add attributes; `__` in a name stands for a dot, None is left out."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(name.replace("__", "."), value)

    def fail(self, kind: object) -> None:
        """Mark it as failed, with the name of an error."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", str(kind))
            self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """End what `begin_span` began; a second time does nothing."""
        if self._span is not None and self._span.is_recording():
            self._span.end()


_NO_SPAN = Span(None)


def note_error(code: str) -> None:
    """Mark the span that runs here as failed with this code."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        Span(get_current_span()).fail(code)


def trace_id_of(correlation_id: str) -> str:
    """The trace of what has this correlation id, in the form that tracing tools show."""
    number = _number(correlation_id)
    return f"{number:032x}" if number is not None else ""


def _number(correlation_id: str) -> int | None:
    try:
        return UUID(correlation_id).int
    except ValueError:
        return None
