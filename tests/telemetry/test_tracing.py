"""Spans: nothing while off; on, a whole turn under its correlation id, without secrets."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.support.database import Databases
from tests.support.model_endpoint import calls
from tests.support.server import ADA, Server, running
from tests.support.turns import ORDER_1, REFUND
from tests.support.upstream import answers

from smart_support.agent.node_spans import spanned
from smart_support.agent.thinking import think
from smart_support.events.records import TurnOpened
from smart_support.telemetry import tracing
from smart_support.telemetry.logs import new_correlation_id
from smart_support.telemetry.tracing import configure_tracing, span, trace_id_of


def test_off_there_is_nothing_to_end_and_nothing_is_kept() -> None:
    with configure_tracing(None):
        assert not tracing.tracing()
        with span("turn", {"a": 1}, correlation_id=new_correlation_id()) as nothing:
            nothing.note(a=2)
            nothing.fail("x")
        tracing.note_error("X")
        tracing.begin_span("sql", {}).end()


def test_a_trace_has_the_id_of_its_correlation_id() -> None:
    kept, correlation_id = InMemorySpanExporter(), new_correlation_id()

    with (
        configure_tracing(None, exporter=kept),
        span("turn", correlation_id=correlation_id),
        span("inside"),
    ):
        pass

    inside, turn = kept.get_finished_spans()
    assert trace_id_of(correlation_id) == correlation_id.replace("-", "")
    assert {f"{each.context.trace_id:032x}" for each in (inside, turn)} == {
        trace_id_of(correlation_id)
    }
    assert inside.parent is not None
    assert inside.parent.span_id == turn.context.span_id
    assert turn.parent is None


def test_a_span_that_fails_says_the_type_and_not_the_text() -> None:
    kept = InMemorySpanExporter()

    with configure_tracing(None, exporter=kept):
        with pytest.raises(KeyError), span("turn"):
            raise KeyError("ada@example.org")
        with span("odd", correlation_id="no uuid"):
            pass

    failed, odd = kept.get_finished_spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes == {"error.type": "KeyError"}
    assert failed.events == ()
    assert odd.context.trace_id


async def told(server: Server) -> str:
    """A turn with a call that needs two attempts; its correlation id."""
    await server.import_company()
    server.model.queue(calls(ORDER_1))
    server.company.queue(answers({}, status=503), answers({"id": "1001"}))
    async with server.chat(ADA) as chat:
        thread = await server.thread(ADA)
        await chat.follow(thread)
        await chat.write(thread, "Where is 1001, asks ada@example.org")
        await chat.turn()
    await server.settled()
    events = await server.parts.log.read(thread)
    return next(e.fact.correlation_id for e in events if isinstance(e.fact, TurnOpened))


async def test_a_turn_is_seen_from_end_to_end(databases: Databases, template: str) -> None:
    kept = InMemorySpanExporter()
    with databases.one(template) as url, configure_tracing(None, exporter=kept):
        async with running(url) as server:
            correlation_id = await told(server)

    trace = [
        each
        for each in kept.get_finished_spans()
        if f"{each.context.trace_id:032x}" == trace_id_of(correlation_id)
    ]
    by_id = {each.context.span_id: each for each in trace}

    def above(each: ReadableSpan) -> str | None:
        return by_id[each.parent.span_id].name if each.parent else None

    names = [each.name for each in trace if each.name != "sql"]
    assert sorted(names) == [
        "chat",
        "chat",
        "execute_tool",
        "http.client",
        "http.client",
        "invoke_agent",
        "node call",
        "node think",
        "node think",
    ]
    assert {above(each) for each in trace if each.name.startswith("node ")} == {"invoke_agent"}
    assert {above(each) for each in trace if each.name == "chat"} == {"node think"}
    assert {above(each) for each in trace if each.name == "execute_tool"} == {"node call"}
    assert {above(each) for each in trace if each.name == "http.client"} == {"execute_tool"}
    assert sum(each.name == "sql" for each in trace) > 5
    chat = next(each for each in trace if each.name == "chat")
    assert chat.attributes is not None
    assert chat.attributes["gen_ai.request.model"] == "gpt-4.1-mini"
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0  # type: ignore[operator]
    tool = next(each for each in trace if each.name == "execute_tool")
    assert tool.attributes is not None
    assert tool.attributes["gen_ai.tool.name"] == "getOrder"
    first, second = sorted(
        (each for each in trace if each.name == "http.client"),
        key=lambda each: each.start_time or 0,
    )
    assert (first.status.status_code, second.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert "ada@example.org" not in "".join(each.to_json() for each in kept.get_finished_spans())


async def test_a_node_that_waits_for_a_yes_has_not_failed(
    databases: Databases, template: str
) -> None:
    kept = InMemorySpanExporter()
    with databases.one(template) as url, configure_tracing(None, exporter=kept):
        async with running(url) as server, server.chat(ADA) as chat:
            await server.import_company()
            server.model.queue(calls(REFUND))
            await chat.follow(thread := await server.thread(ADA))
            await chat.write(thread, "A refund, please.")
            await chat.turn()
            await server.settled()

    (gate,) = [each for each in kept.get_finished_spans() if each.name == "node gate"]
    assert gate.attributes is not None
    assert gate.attributes["smart_support.interrupted"] is True
    assert gate.status.status_code is StatusCode.UNSET


def test_off_a_node_is_the_very_same() -> None:
    with configure_tracing(None):
        assert spanned(think) is think


async def test_a_collector_that_is_not_there_costs_no_answer(
    databases: Databases, template: str
) -> None:
    with databases.one(template) as url:
        async with running(
            url, smart_support_trace_endpoint="http://127.0.0.1:9/v1/traces"
        ) as server:
            assert tracing.tracing()
            assert await told(server)
    assert not tracing.tracing()
