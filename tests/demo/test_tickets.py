from tests.demo.support import ADA, OpenShop
from tests.demo.test_orders import problem


async def test_opens_a_ticket_and_writes_in_it(shop: OpenShop) -> None:
    opened = await shop.post("/tickets", {"subject": "Pole", "message": "One pole is bent."})
    path = f"/tickets/{opened.json()['id']}"

    answered = await shop.post(f"{path}/comments", {"text": "It is the long one."})

    assert opened.status_code == answered.status_code == 201
    assert opened.json()["order_id"] is None
    ticket = await shop.get(path)
    assert ticket == answered.json()
    assert [(one["author"], one["text"]) for one in ticket["comments"]] == [
        ("customer", "One pole is bent."),
        ("customer", "It is the long one."),
    ]
    assert (await shop.get("/tickets"))["tickets"][0] == ticket


async def test_a_ticket_may_be_about_an_order(shop: OpenShop) -> None:
    body = {"subject": "Late", "message": "Where is it?", "order_id": "1001"}

    assert (await shop.post("/tickets", body)).json()["order_id"] == "1001"


async def test_refuses_empty_words_and_broken_ones(shop: OpenShop) -> None:
    for body in (
        {"subject": "", "message": "b"},
        {"subject": "a", "message": ""},
        {"subject": "a", "message": "b" * 4001},
        {"subject": "a", "message": "b", "priority": "high"},
    ):
        assert problem(await shop.post("/tickets", body)) == (422, "invalid_request")


async def test_refuses_half_a_character(shop: OpenShop) -> None:
    response = await shop.http.post(
        "/tickets",
        params=ADA,
        content=rb'{"subject": "\ud800", "message": "b"}',
        headers={"Content-Type": "application/json"},
    )

    assert problem(response) == (422, "invalid_request")


async def test_keeps_every_letter(shop: OpenShop) -> None:
    text = "Größe 43? 👢 \u0000 \u202e <b>&amp;"

    ticket = (await shop.post("/tickets", {"subject": "Boots", "message": text})).json()

    assert (await shop.get(f"/tickets/{ticket['id']}"))["comments"][0]["text"] == text
