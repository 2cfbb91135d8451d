"""What the nodes write down, and show once it is committed."""

from typing import Any

from langgraph.runtime import Runtime

from smart_support.agent.state import ToolCallState, TurnContext
from smart_support.events.records import Event, Fact, ToolReturned


async def tell(runtime: Runtime[TurnContext], facts: list[Fact]) -> None:
    """Add `facts` to the thread's log, and show them to whoever follows the turn."""
    await runtime.context.opened()
    events: tuple[Event, ...] = await runtime.context.log.append(runtime.context.thread_id, facts)
    runtime.stream_writer(events)


async def returned(
    runtime: Runtime[TurnContext],
    called: ToolCallState,
    outcome: Any,
    content: str,
    code: str | None,
) -> None:
    """Write down and show what became of a call that the ledger has no part in."""
    await tell(
        runtime,
        [
            ToolReturned(
                turn_id=runtime.context.turn_id,
                tool_call_id=called["id"],
                outcome=outcome,
                content=content,
                code=code,
            )
        ],
    )
