"""What `../shared/conformance` drives: the production path between a request and its answer."""

from typing import Self

import httpx

from smart_support.errors import SupportError
from smart_support.events.postgres import storable
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.classify import classify_error
from smart_support.resilience.payload import read_json
from smart_support.resilience.upstream import CallFailed, CallPlan, Upstreams, UpstreamSettings

SETTINGS = UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"]))


class Said(Exception):
    """A failure with the words of the API, as a tool's answer has them."""

    def __init__(self, failure: CallFailed) -> None:
        super().__init__(f"{failure}: {failure.body.decode('utf-8', 'replace')}")
        self.failure = failure


class Ours:
    async def __aenter__(self) -> Self:
        self._upstreams = await Upstreams(SETTINGS).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upstreams.aclose()

    async def call(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        idempotency_key: str | None = None,
        deadline_s: float,
    ) -> object:
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        request = httpx.Request(method, url, json=json, headers=headers)
        keyed = idempotency_key is not None
        plan = CallPlan(
            group="all",
            writes=method not in {"GET", "HEAD"},
            repeatable=keyed or method in {"GET", "HEAD", "PUT", "DELETE"},
            keyed=keyed,
            total=deadline_s,
            attempt=deadline_s / 3,
            max_bytes=2 * 1024 * 1024,
        )
        try:
            answer = await self._upstreams.send(request, plan)
        except CallFailed as failure:
            raise Said(failure) from failure
        return None if answer.status == 204 else storable(read_json(answer.body))

    def category(self, error: Exception) -> str:
        if isinstance(error, Said):
            error = error.failure
        assert isinstance(error, SupportError), repr(error)
        return classify_error(error).value


PEERS = {"ours": Ours}
