"""Each kind of fault, for each class of operation: what the caller gets, and what really happened.

A class is a way of taking effect: a read has none, a PUT and a DELETE are naturally repeatable, a
POST is repeatable with a key only. Whoever calls the shop relies on exactly this table.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.demo.support import ADA, GARBAGE, OpenShop, running_shop
from tests.demo.test_orders import ADDRESS, problem

from smart_support.demo.records import State


@dataclass(frozen=True)
class Operation:
    """A call that can be made once in the shop that all tests here share."""

    name: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


OPERATIONS = {
    "read": Operation("getOrder", "GET", "/orders/1002"),
    "put": Operation("updateShippingAddress", "PUT", "/orders/1057/shipping-address", ADDRESS),
    "post": Operation("createTicket", "POST", "/tickets", {"subject": "a", "message": "b"}, 201),
    "keyed post": Operation(
        "createRefund", "POST", "/orders/1002/refunds", {"amount": 1}, 201,
        {"Idempotency-Key": "key"},
    ),
    "delete": Operation("cancelReturn", "DELETE", "/returns/{made}", None, 204),
}  # fmt: skip
WRITES = [name for name in OPERATIONS if name != "read"]


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenShop]:
    async with running_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
async def shared(opened: OpenShop) -> OpenShop:
    """The module's shop as if nothing had gone wrong yet."""
    opened.company.faults.clear()
    opened.company.calls.clear()
    # A day later every key is free again.
    opened.clock.pass_by(timedelta(days=1))
    for order in opened.company.store.state.orders.values():
        if order.id == "1057":
            order.shipping_address.street = "Lindenweg 4"
    return opened


async def ask(shop: OpenShop, operation: Operation) -> httpx.Response:
    path = operation.path
    if "{made}" in path:
        path = path.format(made=await announced(shop))
    return await shop.http.request(
        operation.method, path, params=ADA, json=operation.body, headers=operation.headers
    )


async def announced(shop: OpenShop) -> str:
    """A return that is there to be withdrawn, made before the fault is due."""
    state = shop.company.store.state
    old = next(one for one in state.returns.values() if one.customer_id == "cus_ada")
    new = old.model_copy(update={"id": state.new_id("ret"), "status": "requested"})
    state.returns[new.id] = new
    return new.id


def effects(before: State, after: State) -> bool:
    """Whether anything that a customer could see is different, numbering aside."""
    hidden = {"next_number", "answers"}
    return before.model_dump(exclude=hidden) != after.model_dump(exclude=hidden)


@dataclass
class Outcome:
    """How a call under a fault ended."""

    response: httpx.Response | None
    effect: bool
    noted: dict[str, Any]


async def under_fault(shop: OpenShop, operation: Operation, kind: str, **more: Any) -> Outcome:
    if "{made}" in operation.path:
        made = await announced(shop)
        operation = Operation(
            operation.name, operation.method, operation.path.format(made=made), None, 204
        )
    before = shop.company.store.state.model_copy(deep=True)
    await shop.fault(kind, operation=operation.name, **more)
    response = None
    with suppress(httpx.RemoteProtocolError):
        response = await ask(shop, operation)
    noted = (await shop.http.get("/_calls")).json()[-1]
    return Outcome(response, effects(before, shop.company.store.state), noted)


@pytest.mark.parametrize("name", OPERATIONS)
class TestEachClass:
    async def test_behaves_without_a_fault(self, shared: OpenShop, name: str) -> None:
        operation = OPERATIONS[name]

        response = await ask(shared, operation)

        assert response.status_code == operation.status
        (noted,) = shared.company.calls
        assert (noted.operation, noted.status) == (operation.name, operation.status)
        assert (noted.effect, noted.fault) == (name != "read", None)

    @pytest.mark.parametrize("status", [400, 429, 500, 503, 599])
    async def test_status_answers_and_does_nothing(
        self, shared: OpenShop, name: str, status: int
    ) -> None:
        outcome = await under_fault(shared, OPERATIONS[name], "status", status=status)

        assert outcome.response is not None
        assert problem(outcome.response) == (status, "shop_trouble")
        assert not outcome.effect
        assert (outcome.noted["effect"], outcome.noted["fault"]) == (False, "status")

    async def test_status_after_answers_the_same_and_has_done_it(
        self, shared: OpenShop, name: str
    ) -> None:
        outcome = await under_fault(
            shared, OPERATIONS[name], "status_after", status=502, retry_after=0
        )

        assert outcome.response is not None
        assert problem(outcome.response) == (502, "shop_trouble")
        assert outcome.response.headers["retry-after"] == "0"
        assert outcome.effect == outcome.noted["effect"] == (name != "read")

    async def test_drop_before_answers_nothing_and_does_nothing(
        self, shared: OpenShop, name: str
    ) -> None:
        outcome = await under_fault(shared, OPERATIONS[name], "drop_before")

        assert outcome.response is None
        assert not outcome.effect
        assert (outcome.noted["status"], outcome.noted["fault"]) == (None, "drop_before")

    async def test_drop_after_answers_nothing_and_has_done_it(
        self, shared: OpenShop, name: str
    ) -> None:
        outcome = await under_fault(shared, OPERATIONS[name], "drop_after")

        assert outcome.response is None
        assert outcome.effect == (name != "read")
        assert (outcome.noted["status"], outcome.noted["fault"]) == (None, "drop_after")

    async def test_garbage_answers_nonsense_with_the_right_status_and_has_done_it(
        self, shared: OpenShop, name: str
    ) -> None:
        outcome = await under_fault(shared, OPERATIONS[name], "garbage")

        assert outcome.response is not None
        # Nothing can be spoilt in an answer without a body, so that one gets a body.
        expected = 200 if name == "delete" else OPERATIONS[name].status
        assert outcome.response.status_code == expected
        assert GARBAGE in outcome.response.content
        with pytest.raises(UnicodeDecodeError):
            outcome.response.content.decode()
        assert outcome.effect == (name != "read")

    async def test_a_fault_is_used_up_by_its_call(self, shared: OpenShop, name: str) -> None:
        await under_fault(shared, OPERATIONS[name], "status")
        shared.clock.pass_by(timedelta(days=1))

        assert (await ask(shared, OPERATIONS[name])).status_code == OPERATIONS[name].status
        assert shared.company.faults.pending == []


class TestAfterwards:
    """What a caller may do when it does not know what happened."""

    @pytest.mark.parametrize("kind", ["status_after", "drop_after", "garbage"])
    async def test_a_keyed_post_is_answered_as_it_should_have_been(
        self, shared: OpenShop, kind: str
    ) -> None:
        operation = OPERATIONS["keyed post"]
        before = shared.company.store.state.orders["1002"].refunded.minor_units

        await under_fault(shared, operation, kind)
        again = await ask(shared, operation)

        assert again.status_code == 201
        assert again.headers["idempotent-replayed"] == "true"
        assert shared.company.store.state.orders["1002"].refunded.minor_units == before + 100

    @pytest.mark.parametrize("kind", ["status_after", "drop_after", "garbage"])
    async def test_a_post_without_a_key_happens_twice(self, shared: OpenShop, kind: str) -> None:
        operation = OPERATIONS["post"]
        before = len(shared.company.store.state.tickets)

        await under_fault(shared, operation, kind)
        await ask(shared, operation)

        assert len(shared.company.store.state.tickets) == before + 2

    @pytest.mark.parametrize("kind", ["status_after", "drop_after", "garbage"])
    async def test_a_put_may_be_repeated(self, shared: OpenShop, kind: str) -> None:
        operation = OPERATIONS["put"]

        await under_fault(shared, operation, kind)
        once = shared.company.store.state.model_copy(deep=True)
        again = await ask(shared, operation)

        assert again.json()["shipping_address"] == ADDRESS
        assert not effects(once, shared.company.store.state)

    async def test_a_delete_that_took_effect_is_not_found_again(self, shared: OpenShop) -> None:
        made = await announced(shared)
        await shared.fault("drop_after", operation="cancelReturn")
        with suppress(httpx.RemoteProtocolError):
            await shared.http.delete(f"/returns/{made}", params=ADA)

        again = await shared.http.delete(f"/returns/{made}", params=ADA)

        assert problem(again) == (404, "return_not_found")

    @pytest.mark.parametrize("kind", ["status", "drop_before"])
    async def test_a_key_that_never_reached_the_shop_is_free(
        self, shared: OpenShop, kind: str
    ) -> None:
        await under_fault(shared, OPERATIONS["keyed post"], kind)

        first = await ask(shared, OPERATIONS["keyed post"])

        assert first.status_code == 201
        assert "idempotent-replayed" not in first.headers

    async def test_a_refusal_under_a_fault_changes_nothing(self, shared: OpenShop) -> None:
        too_much = Operation(
            "createRefund", "POST", "/orders/1002/refunds", {"amount": 9000}, 409
        )  # fmt: skip

        for kind in ("status_after", "drop_after", "garbage", "delay"):
            shared.waits.end.set()
            outcome = await under_fault(shared, too_much, kind)
            assert (outcome.effect, outcome.noted["effect"]) == (False, False)


class TestDelay:
    @pytest.mark.parametrize("name", OPERATIONS)
    async def test_holds_every_class_back_for_as_long_as_it_is_told(
        self, tmp_path: Path, name: str
    ) -> None:
        async with running_shop(tmp_path) as shop:
            waiting = asyncio.create_task(
                under_fault(shop, OPERATIONS[name], "delay", seconds=12.5)
            )
            await asyncio.wait_for(shop.waits.began.wait(), timeout=5)
            before = shop.company.store.state.model_copy(deep=True)
            assert shop.waits.asked == [12.5]
            assert not effects(before, shop.company.store.state)

            shop.waits.end.set()
            outcome = await waiting

        assert outcome.response is not None
        assert outcome.response.status_code == OPERATIONS[name].status
        assert outcome.effect == (name != "read")
        assert outcome.noted["fault"] == "delay"

    async def test_does_not_hold_up_the_others(self, tmp_path: Path) -> None:
        async with running_shop(tmp_path) as shop:
            await shop.fault("delay", operation="createRefund", seconds=3600)
            slow = asyncio.create_task(shop.refund(10, key="slow"))
            await asyncio.wait_for(shop.waits.began.wait(), timeout=5)

            quick = await shop.refund(10, key="quick")

            assert quick.status_code == 201
            assert not slow.done()
            shop.waits.end.set()
            assert (await slow).status_code == 201

    async def test_counts_time_with_the_shops_clock_when_it_is_over(self, tmp_path: Path) -> None:
        async with running_shop(tmp_path) as shop:
            await shop.fault("delay", operation="createRefund")
            slow = asyncio.create_task(shop.refund(10))
            await asyncio.wait_for(shop.waits.began.wait(), timeout=5)
            assert shop.waits.asked == [0.5]
            shop.clock.pass_by(timedelta(hours=2))
            shop.waits.end.set()

            assert (await slow).json()["created_at"] == "2026-03-01T11:00:00Z"


class TestToldFaults:
    @pytest.mark.parametrize(
        ("fault", "field"),
        [
            ({"kind": "status", "status": 399}, "body.status"),
            ({"kind": "status", "status": 600}, "body.status"),
            ({"kind": "status", "retry_after": -1}, "body.retry_after"),
            ({"kind": "delay", "seconds": 3600.1}, "body.seconds"),
            ({"kind": "delay", "times": -3}, "body.times"),
            ({"kind": "status", "times": 1.5}, "body.times"),
            ({"operation": "*"}, "body.kind"),
            ({"kind": "status", "opration": "getOrder"}, "body.opration"),
        ],
    )
    async def test_with_a_limit_broken_are_refused_by_name(
        self, shared: OpenShop, fault: dict[str, Any], field: str
    ) -> None:
        response = await shared.http.post("/_faults", json=fault)

        assert problem(response) == (422, "invalid_request")
        assert [error["field"] for error in response.json()["errors"]] == [field]
        assert shared.company.faults.pending == []

    async def test_have_their_defaults_and_are_told_back(self, shared: OpenShop) -> None:
        told = await shared.http.post("/_faults", json={"kind": "status"})

        assert (told.status_code, told.json()) == (
            201,
            {
                "operation": "*", "kind": "status", "status": 503, "retry_after": None,
                "seconds": 0.5, "times": 1,
            },
        )  # fmt: skip

    async def test_for_an_operation_that_is_none_wait_for_ever(self, shared: OpenShop) -> None:
        await shared.fault("status", operation="teleportOrder")

        assert (await shared.http.get("/account", params=ADA)).status_code == 200
        assert [fault.operation for fault in shared.company.faults.pending] == ["teleportOrder"]

    async def test_spoil_as_many_calls_as_they_say(self, shared: OpenShop) -> None:
        await shared.fault("status", operation="getCustomer", times=3)

        statuses = [(await shared.http.get("/account", params=ADA)).status_code for _ in range(5)]

        assert statuses == [503, 503, 503, 200, 200]

    async def test_come_before_the_api_key_is_looked_at(self, tmp_path: Path) -> None:
        async with running_shop(tmp_path, api_key="k") as shop:
            await shop.fault("status", status=500)

            assert (await shop.http.get("/account", params=ADA)).status_code == 500
            assert (await shop.http.get("/account", params=ADA)).status_code == 401

    async def test_concern_nothing_behind_the_counter(self, shared: OpenShop) -> None:
        await shared.fault("drop_before")

        for path in ("/_health", "/_calls", "/_faults", "/openapi.json"):
            assert (await shared.http.get(path)).status_code == 200
        assert len(shared.company.faults.pending) == 1
        assert not shared.company.calls


class TestCallLog:
    async def test_notes_time_query_and_key_as_they_came(self, shared: OpenShop) -> None:
        await shared.http.get("/products?q=a%20b&limit=2", headers={"Idempotency-Key": b"k\xfc"})

        (call,) = (await shared.http.get("/_calls")).json()
        assert call["query"] == "q=a%20b&limit=2"
        assert call["path"] == "/products"
        assert call["at"] == shared.clock.now.isoformat().replace("+00:00", "Z")
        assert call["key"] == "kü"  # Latin-1, as HTTP's own header values are

    async def test_keeps_the_order_of_the_calls(self, shared: OpenShop) -> None:
        for number in range(15):
            await shared.http.get(f"/orders/{2000 + number}", params=ADA)

        paths = [call["path"] for call in (await shared.http.get("/_calls")).json()]
        assert paths == [f"/orders/{2000 + number}" for number in range(15)]

    async def test_says_when_a_key_was_replayed(self, shared: OpenShop) -> None:
        for _ in range(2):
            await ask(shared, OPERATIONS["keyed post"])

        first, again = shared.company.calls
        assert (first.effect, first.replayed) == (True, False)
        assert (again.effect, again.replayed) == (False, True)
        assert first.key == again.key == "key"
