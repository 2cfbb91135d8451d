import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.demo.support import ADA, Clock, OpenShop, running_shop
from tests.demo.test_orders import problem

from smart_support.demo.keys import REPLAYED, fingerprint

POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/orders/1057/cancel", {"reason": "Ordered twice"}),
    ("/orders/1002/refunds", {"amount": 20}),
    (
        "/returns",
        {"order_id": "1002", "lines": [{"sku": "BOOT-MID", "quantity": 1}], "reason": "Too big"},
    ),
    ("/tickets", {"subject": "Pole", "message": "It is bent."}),
    ("/tickets/tic_2001/comments", {"text": "Any news?"}),
]


@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_the_same_request_takes_effect_once(
    shop: OpenShop, path: str, body: dict[str, Any]
) -> None:
    first = await shop.post(path, body, "key-1")
    after_first = shop.company.store.state.model_copy(deep=True)

    again = await shop.post(path, dict(reversed(body.items())), "key-1")

    assert first.is_success
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert shop.company.store.state == after_first


async def test_without_a_key_every_request_takes_effect(shop: OpenShop) -> None:
    first, second = await shop.refund(10), await shop.refund(10)

    assert first.json()["id"] != second.json()["id"]
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 2000


async def test_another_request_cannot_borrow_a_key(shop: OpenShop) -> None:
    await shop.refund(10, key="key-1")

    others = (
        await shop.refund(11, key="key-1"),
        await shop.refund(10, key="key-1", order="1001"),
        await shop.post("/tickets", {"subject": "a", "message": "b"}, "key-1"),
    )

    assert {problem(other) for other in others} == {(422, "key_reused")}
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 1000


async def test_a_second_request_does_not_overtake_the_first(shop: OpenShop) -> None:
    await shop.fault("delay", operation="createRefund", seconds=30)
    first = asyncio.create_task(shop.refund(10, key="key-1"))
    await asyncio.wait_for(shop.waits.began.wait(), timeout=5)

    during = await shop.refund(10, key="key-1")
    other_key = await shop.refund(5, key="key-2")
    shop.waits.end.set()

    assert problem(during) == (409, "key_in_use")
    assert other_key.status_code == (await first).status_code == 201
    after = await shop.refund(10, key="key-1")
    assert after.content == (await first).content
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 1500


async def test_of_many_at_once_one_takes_effect(shop: OpenShop) -> None:
    answers = await asyncio.gather(*(shop.refund(10, key="key-1") for _ in range(12)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 1000


async def test_many_keys_at_once_never_refund_too_much(shop: OpenShop) -> None:
    answers = await asyncio.gather(*(shop.refund(50, key=f"key-{n}") for n in range(8)))

    assert [answer.status_code for answer in answers].count(201) == 4  # 226.00 were paid
    assert (await shop.get("/orders/1002"))["refundable"]["minor_units"] == 2600


async def test_a_refused_request_leaves_its_key_free(shop: OpenShop) -> None:
    assert problem(await shop.refund(900, key="key-1"))[0] == 409
    assert problem(await shop.refund(-1, key="key-1"))[0] == 422

    assert (await shop.refund(10, key="key-1")).status_code == 201


async def test_keys_live_for_a_day(shop: OpenShop) -> None:
    await shop.refund(10, key="key-1")
    shop.clock.pass_by(timedelta(hours=23, minutes=59))
    last = await shop.refund(10, key="key-1")
    shop.clock.pass_by(timedelta(minutes=1))
    too_late = await shop.refund(10, key="key-1")

    assert last.headers[REPLAYED] == "true"
    assert REPLAYED not in too_late.headers
    assert list(shop.company.store.state.answers) == ["key-1"]
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 2000


async def test_keys_outlive_the_process(tmp_path: Path) -> None:
    clock = Clock()
    async with running_shop(tmp_path, clock) as shop:
        before = await shop.refund(10, key="key-1")
    async with running_shop(tmp_path, clock) as shop:
        after = await shop.refund(10, key="key-1")
        refunds = (await shop.get("/refunds", order_id="1002"))["refunds"]

    assert after.headers[REPLAYED] == "true"
    assert after.content == before.content
    assert refunds == [before.json()]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_refuses_a_key_that_is_none(shop: OpenShop, key: str) -> None:
    assert problem(await shop.refund(10, key=key)) == (422, "invalid_request")


async def test_an_address_is_put_without_a_key(shop: OpenShop) -> None:
    address = (await shop.get("/account"))["address"]

    for city in ("Kiel", "Lübeck"):
        response = await shop.http.put(
            "/orders/1057/shipping-address",
            params=ADA,
            json=address | {"city": city},
            headers={"Idempotency-Key": "key-1"},  # means nothing on a PUT
        )
        assert response.json()["shipping_address"]["city"] == city


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(one=JSON, other=JSON)
def test_a_fingerprint_is_equal_for_equal_json_only(one: object, other: object) -> None:
    def name(value: object, indent: int | None) -> str:
        return fingerprint("POST", "/a", "", json.dumps(value, indent=indent).encode())

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (name(one, None) == name(other, 2)) == same


def test_a_fingerprint_keeps_its_parts_apart() -> None:
    assert fingerprint("POST", "/a", "b", b"") != fingerprint("POST", "/ab", "", b"")
