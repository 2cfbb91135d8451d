"""The floor of a turn: what a LangGraph application is without anything of ours.

    python -m tests.bench.bare MODEL_URL COMPANY_URL

A hand-written graph of two nodes, ChatOpenAI as it comes, one tool on one shared httpx client,
checkpoints in memory, and a FastAPI WebSocket that passes on what the graph streams, served by
uvicorn with the options that our own server has. It stores nothing, asks nobody who they are,
limits, records and retries nothing. `/echo` is the floor of a socket.

Prints `{"port": n}` and ends when its standard input closes.
"""

import asyncio
import json
import socket
import sys
from typing import Any

import httpx
import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import SecretStr

SYSTEM = SystemMessage("You are a support agent. Use the tools to look things up.")


def create_app(model_url: str, company_url: str) -> FastAPI:
    """The application, with its graph."""
    client = httpx.AsyncClient(base_url=company_url, trust_env=False)

    @tool("getOrder")
    async def get_order(order_id: str) -> str:
        """Look up an order."""
        response = await client.get(f"/orders/{order_id}")
        response.raise_for_status()
        return response.text

    model = ChatOpenAI(model="bench", base_url=model_url, api_key=SecretStr("bench")).bind_tools(
        [get_order]
    )

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke([SYSTEM, *state["messages"]])]}

    async def call(state: MessagesState) -> dict[str, Any]:
        calls = getattr(state["messages"][-1], "tool_calls", [])
        return {
            "messages": [await get_order.ainvoke(each | {"type": "tool_call"}) for each in calls]
        }

    def after_think(state: MessagesState) -> str:
        return "call" if getattr(state["messages"][-1], "tool_calls", []) else END

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("call", call)
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", after_think, ["call", END])
    builder.add_edge("call", "think")
    graph = builder.compile(checkpointer=MemorySaver())
    app = FastAPI()

    @app.websocket("/chat")
    async def chat(web_socket: WebSocket) -> None:
        await web_socket.accept()
        try:
            while True:
                asked = orjson.loads(await web_socket.receive_text())
                stream = graph.astream(
                    {"messages": [HumanMessage(asked["text"])]},
                    {"configurable": {"thread_id": asked["thread_id"]}},
                    stream_mode=["messages", "updates"],
                )
                async for mode, part in stream:
                    for frame in _frames(mode, part):
                        await web_socket.send_text(orjson.dumps(frame).decode())
                await web_socket.send_text('{"done":true}')
        except WebSocketDisconnect:
            return

    @app.websocket("/echo")
    async def echo(web_socket: WebSocket) -> None:
        await web_socket.accept()
        try:
            while True:
                await web_socket.send_text(await web_socket.receive_text())
        except WebSocketDisconnect:
            return

    return app


def _frames(mode: Any, part: Any) -> list[dict[str, Any]]:
    """What the customer's page is told of a part of the graph's stream."""
    if mode == "messages":
        piece = part[0]
        shown = isinstance(piece, AIMessageChunk) and piece.text
        return [{"token": str(piece.text)}] if shown else []
    called = part.get("call") or {"messages": []}
    asked = part.get("think") or {"messages": []}
    return [
        *({"call": each} for message in asked["messages"] for each in message.tool_calls),
        *({"result": message.content} for message in called["messages"]),
    ]


async def serve(model_url: str, company_url: str) -> None:
    """Serve until standard input closes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(model_url, company_url),
                log_config=None,
                access_log=False,
                server_header=False,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=2,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.buffer.read)
        server.should_exit = True
        await task


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:3]))
