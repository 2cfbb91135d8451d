"""Spans around the nodes of the graph, where spans are made at all."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from langgraph.errors import GraphBubbleUp

from smart_support.telemetry.tracing import span, tracing

Node = TypeVar("Node", bound=Callable[..., Coroutine[Any, Any, Any]])


def spanned(node: Node) -> Node:
    """`node` within a span named after it; the very node while no spans are made."""
    if not tracing():
        return node
    name: str = node.__name__

    @functools.wraps(node)
    async def within_span(state: Any, runtime: Any) -> Any:
        with span(f"node {name}", {"smart_support.node": name}) as current:
            try:
                return await node(state, runtime)
            except GraphBubbleUp as interrupt:  # how LangGraph stops for an answer: no failure
                current.note(smart_support__interrupted=True)
                waits = interrupt
        raise waits

    return cast("Node", within_span)
