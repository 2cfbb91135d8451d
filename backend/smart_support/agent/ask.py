"""One question to the model, outside of any conversation."""

import asyncio
import contextlib

from smart_support.agent.model import StreamingChatOpenAI, stream_reply
from smart_support.agent.model_errors import ModelUnavailable
from smart_support.agent.reply import Reply
from smart_support.errors import ErrorCategory


async def ask_model(model: StreamingChatOpenAI, question: str, *, within: float) -> str:
    """The model's words on `question`, within so many seconds.

    Raises:
        SupportError: one of `model_errors`.
    """
    reply = Reply()
    messages = [{"role": "user", "content": question}]
    try:
        async with (
            asyncio.timeout(within),
            contextlib.aclosing(stream_reply(model, messages)) as pieces,
        ):
            async for piece in pieces:
                if isinstance(piece, Reply):
                    reply = piece
    except TimeoutError:
        raise ModelUnavailable("no answer in time", ErrorCategory.TIMEOUT) from None
    return reply.text
