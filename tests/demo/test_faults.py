import asyncio
from pathlib import Path

import httpx
import pytest
from tests.demo.support import ADA, GARBAGE, OpenShop, running_shop
from tests.demo.test_orders import problem

from smart_support.demo.faults import Fault, Faults


async def refunded(shop: OpenShop) -> int:
    return (await shop.get("/orders/1002"))["refunded"]["minor_units"]


async def last_call(shop: OpenShop, path: str) -> dict[str, object]:
    calls = (await shop.http.get("/_calls")).json()
    return next(call for call in reversed(calls) if call["path"] == path)


REFUNDS = "/orders/1002/refunds"


async def test_status_does_nothing_but_complain(shop: OpenShop) -> None:
    await shop.fault("status", operation="createRefund", status=429, retry_after=2, times=2)

    first, second, third = [await shop.refund(10, key="key-1") for _ in range(3)]

    for refused in (first, second):
        assert problem(refused) == (429, "shop_trouble")
        assert refused.headers["retry-after"] == "2"
    assert third.status_code == 201
    assert "idempotent-replayed" not in third.headers
    assert await refunded(shop) == 1000


async def test_status_after_complains_when_it_is_done(shop: OpenShop) -> None:
    await shop.fault("status_after", status=500)

    response = await shop.refund(10)

    assert problem(response) == (500, "shop_trouble")
    assert "retry-after" not in response.headers
    assert (await last_call(shop, REFUNDS))["effect"] is True
    assert await refunded(shop) == 1000


async def test_delay_answers_late(shop: OpenShop) -> None:
    await shop.fault("delay", seconds=7.5)
    asked = asyncio.create_task(shop.refund(10))
    await asyncio.wait_for(shop.waits.began.wait(), timeout=5)

    assert shop.waits.asked == [7.5]
    assert not asked.done()
    assert await refunded(shop) == 0
    shop.waits.end.set()
    assert (await asked).status_code == 201


async def test_drop_before_closes_the_connection_and_does_nothing(shop: OpenShop) -> None:
    await shop.fault("drop_before")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await shop.refund(10, key="key-1")

    call = await last_call(shop, REFUNDS)
    assert (call["effect"], call["status"], call["fault"]) == (False, None, "drop_before")
    assert await refunded(shop) == 0


async def test_drop_after_does_it_and_closes_the_connection(shop: OpenShop) -> None:
    await shop.fault("drop_after")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await shop.refund(10, key="key-1")

    call = await last_call(shop, REFUNDS)
    assert (call["effect"], call["status"], call["key"]) == (True, None, "key-1")
    assert await refunded(shop) == 1000
    assert (await shop.refund(10, key="key-1")).headers["idempotent-replayed"] == "true"
    assert await refunded(shop) == 1000


async def test_garbage_does_it_and_answers_nonsense(shop: OpenShop) -> None:
    await shop.fault("garbage")

    response = await shop.refund(10)

    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert GARBAGE in response.content
    assert await refunded(shop) == 1000


async def test_garbage_where_nothing_is_answered(shop: OpenShop) -> None:
    body = {
        "order_id": "1002",
        "lines": [{"sku": "BOOT-MID", "quantity": 1}],
        "reason": "Too big",
    }
    made = (await shop.post("/returns", body)).json()
    await shop.fault("garbage", operation="cancelReturn")

    response = await shop.http.delete(f"/returns/{made['id']}", params=ADA)

    assert response.status_code == 200
    assert GARBAGE in response.content


async def test_a_fault_concerns_its_operation_alone(shop: OpenShop) -> None:
    await shop.fault("status", operation="getOrder")

    assert (await shop.refund(10)).status_code == 201
    assert (await shop.http.get("/orders/1002", params=ADA)).status_code == 503
    assert (await shop.http.get("/orders/1002", params=ADA)).status_code == 200


async def test_faults_are_listed_counted_and_forgotten(shop: OpenShop) -> None:
    await shop.fault("status", times=3)
    await shop.fault("garbage", operation="listOrders")
    await shop.http.get("/account", params=ADA)

    pending = (await shop.http.get("/_faults")).json()
    assert [(fault["kind"], fault["times"]) for fault in pending] == [("status", 2), ("garbage", 1)]
    assert (await shop.http.delete("/_faults")).status_code == 204
    assert (await shop.http.get("/_faults")).json() == []
    assert (await shop.http.get("/account", params=ADA)).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"kind": "explode"},
        {"kind": "status", "status": 200},
        {"kind": "status", "times": 0},
        {"kind": "delay", "seconds": -1},
        {"kind": "delay", "second": 1},
    ],
)
async def test_refuses_a_fault_that_is_none(shop: OpenShop, fault: dict[str, object]) -> None:
    assert problem(await shop.http.post("/_faults", json=fault)) == (422, "invalid_request")
    assert (await shop.http.get("/_faults")).json() == []


def test_the_first_fault_that_fits_is_taken() -> None:
    faults = Faults()
    told = [
        Fault(operation="a", kind="status"),
        Fault(operation="*", kind="delay"),
        Fault(operation="b", kind="garbage"),
    ]
    for fault in told:
        faults.add(fault)

    taken = [faults.take(operation) for operation in ("b", "b", "b", "a")]

    assert [fault and fault.kind for fault in taken] == ["delay", "garbage", None, "status"]
    assert [fault.times for fault in told] == [1, 1, 1]  # what was told is not ours to change


async def test_calls_are_noted_and_forgotten(shop: OpenShop) -> None:
    await shop.refund(10, key="key-1")
    await shop.refund(10, key="key-1")
    await shop.refund(9000)
    await shop.http.get("/nowhere?a=b")

    calls = (await shop.http.get("/_calls")).json()

    assert [
        (
            call["method"],
            call["path"],
            call["key"],
            call["effect"],
            call["replayed"],
            call["status"],
        )
        for call in calls
    ] == [
        ("POST", REFUNDS, "key-1", True, False, 201),
        ("POST", REFUNDS, "key-1", False, True, 201),
        ("POST", REFUNDS, None, False, False, 409),
        ("GET", "/nowhere", None, False, False, 404),
    ]
    assert [call["operation"] for call in calls] == ["createRefund"] * 3 + [None]
    assert calls[3]["query"] == "a=b"
    assert (await shop.http.delete("/_calls")).status_code == 204
    assert (await shop.http.get("/_calls")).json() == []


async def test_health_says_the_shop_is_open(shop: OpenShop) -> None:
    health = (await shop.http.get("/_health")).json()

    assert health == {"status": "ok", "opened_at": "2026-03-01T09:00:00Z", "orders": 64}


async def test_a_caller_who_leaves_early_disturbs_nobody(shop: OpenShop) -> None:
    host, port = shop.http.base_url.host, shop.http.base_url.port
    _, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /orders/1002/refunds?customer_id=cus_ada HTTP/1.1\r\nHost: shop\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await asyncio.wait_for(shop.refund(10), timeout=5)).status_code == 201
    assert await refunded(shop) == 1000


async def test_an_api_key_is_asked_for_when_there_is_one(tmp_path: Path) -> None:
    async with running_shop(tmp_path, api_key="open sesame") as shop:
        without = await shop.refund(10)
        wrong = await shop.http.get("/account", params=ADA, headers={"X-Api-Key": "open"})
        right = await shop.http.get("/account", params=ADA, headers={"X-Api-Key": "open sesame"})
        behind = await shop.http.get("/_health")

        assert problem(without) == problem(wrong) == (401, "unauthorized")
        assert right.status_code == behind.status_code == 200
        assert shop.company.store.state.orders["1002"].refunded.minor_units == 0
