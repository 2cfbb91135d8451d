"""Is the model's endpoint there, and does it take our key."""

import asyncio
from collections.abc import Sequence

import httpx

from smart_support.agent.model import StreamingChatOpenAI
from smart_support.agent.model_errors import ModelUnavailable, error_of_answer
from smart_support.errors import ErrorCategory, SupportError


async def check_any(models: Sequence[StreamingChatOpenAI], within: float) -> None:
    """Return if at least one of `models` is there. All are asked at once.

    Raises:
        SupportError: what is wrong with the first; nobody stands in for it.
    """

    async def check(model: StreamingChatOpenAI) -> SupportError | None:
        try:
            async with asyncio.timeout(within):  # the other limit is for each step of it
                await check_model(model, within)
        except TimeoutError:
            return ModelUnavailable("no answer in time", ErrorCategory.TIMEOUT)
        except SupportError as error:
            return error
        return None

    troubles = await asyncio.gather(*(check(model) for model in models))
    if None not in troubles and troubles[0] is not None:
        raise troubles[0]


async def check_model(model: StreamingChatOpenAI, within: float) -> None:
    """Return if the endpoint lists its models within `within` seconds; nothing is generated.

    An endpoint that has no such list (404 or 405) is there as well.

    Raises:
        SupportError: one of `model_errors`; the text says why.
    """
    client, key = model.http_async_client, model.openai_api_key
    assert isinstance(client, httpx.AsyncClient)
    secret = key.get_secret_value() if key and not callable(key) else ""
    url = f"{str(model.root_async_client.base_url).rstrip('/')}/models"
    headers = {"authorization": f"Bearer {secret}", **(model.default_headers or {})}
    try:
        async with client.stream("GET", url, headers=headers, timeout=within) as response:
            # The body is not read: an endpoint may list thousands.
            if response.status_code < 400 or response.status_code in (404, 405):
                return
            raise error_of_answer(response.status_code, "", response.headers)
    except httpx.TimeoutException:
        raise ModelUnavailable("no answer in time", ErrorCategory.TIMEOUT) from None
    except httpx.HTTPError as error:
        raise ModelUnavailable(
            f"cannot be reached: {type(error).__name__}", ErrorCategory.NETWORK
        ) from None
