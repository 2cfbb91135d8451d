"""The floor of a turn: the application that one would write instead of taking ours.

    python -m tests.bench.bare MODEL_URL COMPANY_URL DATABASE_URL

LangChain's `create_agent`, ChatOpenAI as it comes, one tool on one shared httpx client,
AsyncPostgresSaver with its defaults on a pool of connections, and a FastAPI WebSocket that passes
on what the graph streams, served by uvicorn with the options that our own server has. It asks
nobody who they are, limits, records and retries nothing. `/echo` is the floor of a socket,
`/health` of a start.

Prints `{"port": n}` and ends when its standard input closes.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

SYSTEM = "You are a support agent. Use the tools to look things up."


def create_app(model_url: str, company_url: str, database_url: str) -> FastAPI:
    """The application, with its graph."""
    client = httpx.AsyncClient(base_url=company_url, trust_env=False)
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        database_url,
        min_size=10,
        max_size=20,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
    saver = AsyncPostgresSaver(pool)

    @tool("getOrder")
    async def get_order(order_id: str) -> str:
        """Look up an order."""
        response = await client.get(f"/orders/{order_id}")
        response.raise_for_status()
        return response.text

    model = ChatOpenAI(model="bench", base_url=model_url, api_key=SecretStr("bench"))
    graph = create_agent(model, [get_order], system_prompt=SYSTEM, checkpointer=saver)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=True)
        await saver.setup()
        yield
        await pool.close()
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health() -> str:
        return "ok"

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
    called = part.get("tools") or {"messages": []}
    asked = part.get("model") or {"messages": []}
    return [
        *({"call": each} for message in asked["messages"] for each in message.tool_calls),
        *({"result": message.content} for message in called["messages"]),
    ]


async def serve(model_url: str, company_url: str, database_url: str) -> None:
    """Serve until standard input closes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(model_url, company_url, database_url),
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
    uvloop.run(serve(*sys.argv[1:4]))
