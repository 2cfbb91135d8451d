"""What is suggested for operations as real shops, desks and payment providers write them.

Each row was judged by reading it the way an operator would, before it was run. Where a row errs,
it errs to one side: a read that looks like a write costs an operator a look, the other way round
costs a customer money.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.operations.documents import json_body, operation_of, parameter

from smart_support.operations.records import Access, DraftOperation, Risk


@dataclass(frozen=True, kw_only=True)
class Row:
    """One operation and what it should be taken for."""

    verb: str
    path: str
    name: str | None = None
    summary: str = ""
    tags: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    """Query parameters, or `name@header`."""
    body: tuple[str, ...] = ()
    agent: str = "support"
    bound: dict[str, str] = field(default_factory=dict)

    def drafted(self) -> DraftOperation:
        listed = []
        for entry in self.takes:
            name, _, place = entry.partition("@")
            listed.append(parameter(name, place or "query"))
        operation: dict[str, Any] = {"parameters": listed, "tags": list(self.tags)}
        operation |= {"operationId": self.name} if self.name else {}
        operation |= {"summary": self.summary} if self.summary else {}
        operation |= json_body({"properties": {n: {} for n in self.body}}) if self.body else {}
        return operation_of(operation, method=self.verb, path=self.path)


def row(verb: str, path: str, name: str | None = None, **more: Any) -> Row:
    return Row(verb=verb, path=path, name=name, **more)


CUSTOMER = {"customer_id": "customer_id"}

READS = [
    # Orders, and what hangs on them
    row("get", "/orders", "listOrders", agent="orders"),
    row("get", "/orders/{id}", "getOrder", agent="orders"),
    row("get", "/orders/{id}/lines", None, agent="orders"),
    row("get", "/orders", "orders_list", takes=("customer_id",), agent="orders", bound=CUSTOMER),
    row("head", "/orders/{id}", "headOrder", agent="orders"),
    row("options", "/orders", None, agent="orders"),
    row("query", "/orders", "queryOrders", agent="orders"),
    row("get", "/carts/{id}", "getCart", agent="orders"),
    row("get", "/basket", "viewBasket", agent="orders"),
    row("get", "/fulfillments/{id}", "getFulfillment", agent="orders"),
    # Money that is only looked at
    row("get", "/refunds", "listRefunds", agent="refunds"),
    row("get", "/refunds/{id}/status", "getRefundStatus", agent="refunds"),
    row("get", "/payments/{id}", "fetchPayment", agent="billing"),
    row("get", "/invoices/{id}/pdf", "downloadInvoice", agent="billing"),
    row("get", "/wallet/balance", "getBalance"),
    row("get", "/subscriptions/{id}", "retrieveSubscription", agent="billing"),
    row("get", "/chargebacks", "listChargebacks", agent="refunds"),
    # Names that hold a word of action and are still only looked at
    row("get", "/shipments", "listSentShipments", agent="shipping"),
    row("get", "/deliveries/{id}", "getDelivery", tags=("Delivery",), agent="shipping"),
    row("get", "/updates", "listUpdates"),
    row("get", "/orders/{id}/cancellation", "getOrderCancellation", agent="orders"),
    row("get", "/exports/{id}", "orders_get_export"),
    row("get", "/things", "things_list_submit_times"),  # looking may be the second word
    row("get", "/products/search", "searchProducts"),
    row("get", "/products", "findProductsToPurchase"),
    row("get", "/users/{id}/blocked-users", "listBlockedUsers"),
    row("get", "/settings", None, summary="Settings of the shop"),
    row("get", "/posts", "getPosts"),
    row("get", "/a/b", None, summary="Show what was cancelled"),
    row("get", "/returns/{return_id}", "getReturn", agent="returns"),
    row("get", "/v2/rma/{id}", "getRma", agent="returns"),
    # The customer's own things
    row("get", "/me", "getMe", takes=("X-Customer-Id@header",),
        bound={"X-Customer-Id": "customer_id"}),
    row("get", "/profile", "getProfile", takes=("customerEmail",),
        bound={"customerEmail": "email"}),
    row("get", "/buyers/{buyerId}", "getBuyer", bound={"buyerId": "customer_id"}),
    row("get", "/accounts", "findAccounts", takes=("shopper_uuid", "q"),
        bound={"shopper_uuid": "customer_id"}),
    row("get", "/accounts", "listAccounts", takes=("consumer-number",),
        bound={"consumer-number": "customer_id"}),
    row("get", "/orders/by-mail", "findOrders", takes=("client_email_address",), agent="orders",
        bound={"client_email_address": "email"}),
    row("get", "/users", "listUsers", takes=("user_id", "email", "customer_ids", "my_customer_id")),
    # Desks
    row("get", "/tickets", "listTickets", agent="tickets"),
    row("get", "/conversations/{id}", "getConversation", agent="tickets"),
    row("get", "/cases", "listCases", agent="tickets"),
    row("get", "/health", None),
]  # fmt: skip

WRITES = [
    # A safe method whose name says otherwise
    row("get", "/orders/{id}/cancel", "getOrderCancel", agent="orders"),
    row("get", "/cancel", None),
    row("get", "/tickets/{id}:close", None, agent="tickets"),
    row("get", "/logout", "logout"),
    row("get", "/mailing/unsubscribe/{id}", "getUnsubscribe"),
    row("get", "/sync-jobs/{id}", "describeSyncJob"),  # how the path ends is believed first
    row("get", "/?do=cancel&now=1", None),
    row("get", "/{bucket}#restore", "getBucket"),
    row("get", "/jobs/{id}/retry", None),
    row("get", "/cache", "rebuildCache"),
    row("head", "/reports/run", None),
    row("get", "/newsletter", None, summary="Subscribe to the newsletter"),
    row("get", "/x", "archiveGet"),
    row("get", "/machines", "orders_machines_restart"),
    row("query", "/orders/send", None, agent="orders"),
    row("get", "/notes", "toggleListMode"),
    row("options", "/flags/enable", None),
    row("get", "/items/{id}/restore?soft=1", None),
    # Another method that only looks something up: a person may say so
    row("post", "/orders/search", "searchOrders", agent="orders"),
    row("post", "/search", "search"),
    row("post", "/products/_count", "countProducts"),
    row("post", "/rates/estimate", "estimateRates"),
    row("post", "/graphql/query", "query"),
    # Ordinary changes
    row("post", "/tickets", "createTicket", body=("subject", "message"), agent="tickets"),
    row("post", "/tickets/{id}/comments", "addComment", body=("text",), agent="tickets"),
    row("patch", "/tickets/{id}", "updateTicket", body=("status",), agent="tickets"),
    row("post", "/orders/{id}/cancel", "cancelOrder", agent="orders"),
    row("post", "/orders", "placeOrder", body=("lines",), agent="orders"),
    row("put", "/orders/{id}/note", "setNote", body=("note",), agent="orders"),
    row("post", "/returns", "createReturn", takes=("customer_id",), body=("lines", "reason"),
        agent="returns", bound=CUSTOMER),
    row("post", "/exchanges", "createExchange", agent="returns"),
    row("patch", "/shipments/{id}", "rescheduleShipment", body=("day",), agent="shipping"),
    row("put", "/carts/{id}/items", "setItems", body=("sku", "quantity"), agent="orders"),
    row("post", "/issues/{id}/close", "closeIssue", agent="tickets"),
    row("post", "/notes", None, body=("customer_id",), bound={"/body/customer_id": "customer_id"}),
    row("trace", "/things", None),
    row("patch", "/articles/{id}", "patchArticle", body=("title", "draft")),
]  # fmt: skip

LOCKED = [
    # Deletion, by method or by name
    (row("delete", "/notes/{id}", "deleteNote"), "deletes"),
    (row("delete", "/orders/{id}/lines/{line}", None, agent="orders"), "deletes"),
    (row("post", "/notes/{id}/trash", "trashNote"), "deletes"),
    (row("post", "/customers/{id}/erase", "eraseCustomer"), "deletes"),
    (row("get", "/notes/{id}/delete", None), "deletes"),
    (row("put", "/disks/{id}", "wipeDisk"), "deletes"),
    (row("post", "/notes/bulk", None, summary="Purges all notes"), "deletes"),
    # Money
    (row("post", "/orders/{id}/refunds", "createRefund", body=("amount",), agent="orders"),
     "money (“amount”)"),
    (row("post", "/refunds", None, agent="refunds"), "money (“refund"),
    (row("post", "/payments/{id}/capture", "capturePayment", agent="billing"), "money"),
    (row("post", "/transfers", None, body=("to",)), "money (“transfer"),
    (row("post", "/wallets/{id}/top-up", None), "money (“wallet”)"),
    (row("post", "/gifts", "sendGift", body=("price",)), "money (“price”)"),
    (row("put", "/orders/{id}/coupon", "applyCoupon", agent="orders"), "money (“coupon”)"),
    (row("post", "/subscriptions/{id}/pause", "pause", agent="billing"), "money (“subscription"),
    (row("post", "/a", "chargeLateFees"), "money (“charge”)"),
    (row("post", "/a", None, summary="Give discounts"), "money (“discount"),
    (row("post", "/things", None, tags=("Invoices",), agent="billing"), "money (“invoice"),
    (row("get", "/pay", None), "money (“pay”)"),
    (row("post", "/payouts", None, body=("iban",)), "money (“iban”)"),
    (row("patch", "/orders/{id}", None, takes=("refundAmount",), agent="orders"),
     "money (“amount”)"),
    # Ways to reach a person
    (row("put", "/me/e", "changeIt", body=("newEmail",)), "contact details (“email”)"),
    (row("put", "/orders/{id}/shipping-address", None, body=("street",), agent="orders"),
     "contact details (“address”)"),
    (row("patch", "/customers/{id}", None, body=("phone",)), "contact details (“phone”)"),
    (row("post", "/customers/{id}/contacts", None), "contact details (“contact"),
    (row("post", "/a", "mergeAddresses"), "contact details (“address”)"),
    (row("patch", "/profiles/{id}", None), "contact details (“profile"),
    (row("put", "/a", None, body=("whatsapp_number",)), "contact details (“whatsapp”)"),
    # Keys to the house
    (row("put", "/password", None), "credentials or permissions (“password”)"),
    (row("post", "/password-resets", None), "credentials or permissions (“password”)"),
    (row("post", "/users/{id}/roles", None), "credentials or permissions (“role"),
    (row("post", "/api/tokens", None), "credentials or permissions (“token"),
    (row("post", "/sessions", "createSession"), "credentials or permissions (“session"),
    (row("post", "/login", None, body=("user",)), "credentials or permissions (“login”)"),
    (row("get", "/mail/unsubscribe/{token}", None), "credentials or permissions (“token”)"),
    (row("get", "/login", None), "credentials or permissions (“login”)"),
    (row("post", "/a", None, body=("secret",)), "credentials or permissions (“secret”)"),
    (row("post", "/a", None, takes=("new_password",)), "credentials or permissions (“password”)"),
    (row("post", "/webhooks", "registerWebhook"), "credentials or permissions (“webhook"),
    (row("post", "/teams/{id}/invites", None), "credentials or permissions (“invite"),
    (row("put", "/mfa", "enableMfa"), "credentials or permissions (“mfa”)"),
]  # fmt: skip


def label(case: Row) -> str:
    return " ".join(filter(None, (case.verb.upper(), case.path, case.name or case.summary)))


class TestTable:
    @pytest.mark.parametrize("case", READS, ids=label)
    def test_only_looks(self, case: Row) -> None:
        suggested = case.drafted().suggestion

        assert (suggested.access, suggested.risk) == (Access.READ, Risk.LOW)
        assert (suggested.confirm, suggested.confirm_locked) == (False, False)
        assert (suggested.agent, suggested.bindings) == (case.agent, case.bound)

    @pytest.mark.parametrize("case", WRITES, ids=label)
    def test_changes_something_and_asks_first(self, case: Row) -> None:
        suggested = case.drafted().suggestion

        assert (suggested.access, suggested.risk) == (Access.WRITE, Risk.MEDIUM)
        assert (suggested.confirm, suggested.confirm_locked) == (True, False)
        assert (suggested.agent, suggested.bindings) == (case.agent, case.bound)

    @pytest.mark.parametrize(("case", "why"), LOCKED, ids=[label(case) for case, _ in LOCKED])
    def test_can_never_go_unconfirmed(self, case: Row, why: str) -> None:
        suggested = case.drafted().suggestion

        assert (suggested.access, suggested.risk) == (Access.WRITE, Risk.HIGH)
        assert (suggested.confirm, suggested.confirm_locked) == (True, True)
        assert why in " ".join(suggested.reasons)
        assert (suggested.agent, suggested.bindings) == (case.agent, case.bound)

    def test_is_long_enough_and_has_no_row_twice(self) -> None:
        cases = [*READS, *WRITES, *(case for case, _ in LOCKED)]

        assert len(cases) >= 100
        assert len({repr(case) for case in cases}) == len(cases)


class TestReasons:
    """Everything that is said of an operation has its sentence; nothing else is said."""

    def test_of_a_plain_read_is_one_sentence(self) -> None:
        assert row("get", "/things").drafted().suggestion.reasons == ("GET only reads.",)

    def test_of_a_write_with_all_there_is_are_in_the_order_of_the_form(self) -> None:
        case = row(
            "post", "/orders/{id}/search", body=("amount",),
            takes=("customer_id", "Idempotency-Key@header"),
        )  # fmt: skip

        access, looks, risk, key, agent, bound = case.drafted().suggestion.reasons

        assert access == "POST may change something."
        assert looks.startswith("Its path ends in “search”")
        assert risk == "It concerns money (“amount”)."
        assert key == ("It documents the header Idempotency-Key, so a repeat can be made harmless.")
        assert agent == "“order” belongs to orders."
        assert bound == "customer_id is the signed-in customer's customer_id."

    @pytest.mark.parametrize("verb", ["put", "patch", "delete"])
    def test_only_a_post_may_be_called_a_search(self, verb: str) -> None:
        reasons = " ".join(row(verb, "/orders/search").drafted().suggestion.reasons)

        assert "look something up" not in reasons

    def test_several_words_of_search_are_told_the_same_way_every_time(self) -> None:
        reasons = row("post", "/orders/search-filter-count").drafted().suggestion.reasons

        assert "“count”" in reasons[1]

    @pytest.mark.parametrize(
        ("hint", "value", "access"),
        [
            ("x-openai-isConsequential", True, Access.WRITE),
            ("x-openai-isConsequential", False, Access.READ),
            ("x-openai-isConsequential", "true", Access.READ),  # not the boolean that it must be
            ("x-readOnlyHint", False, Access.WRITE),
            ("x-readOnlyHint", True, Access.READ),
            ("x-readOnlyHint", 0, Access.READ),
            ("x-destructiveHint", True, Access.WRITE),
            ("x-destructiveHint", 1, Access.READ),
            ("x-agent-confirmation", True, Access.WRITE),
            ("x-agent-confirmation", False, Access.READ),
        ],
    )
    def test_a_hint_counts_only_as_the_boolean_it_is_defined_as(
        self, hint: str, value: object, access: Access
    ) -> None:
        operation = operation_of({hint: value}, path="/orders")

        assert operation.suggestion.access is access
        assert (hint in operation.suggestion.reasons[0]) is (access is Access.WRITE)

    def test_a_destructive_get_is_still_weighed_for_risk(self) -> None:
        harmless = operation_of({"x-destructiveHint": True}, path="/notes").suggestion
        money = operation_of({"x-destructiveHint": True}, path="/payments").suggestion

        assert (harmless.risk, harmless.confirm_locked) == (Risk.MEDIUM, False)
        assert (money.risk, money.confirm_locked) == (Risk.HIGH, True)


class TestOwners:
    @pytest.mark.parametrize(
        ("path", "agent"),
        [
            ("/orders", "orders"),
            ("/v1/orders", "orders"),
            ("/api/v1/orders", "orders"),
            ("/api/v1/shop/orders", "support"),  # too far from the front to be what it is about
            ("/checkout/session", "orders"),
            ("/baskets/{id}", "orders"),
            ("/fulfilments", "orders"),
            ("/rmas/{id}", "returns"),
            ("/trackings/{id}", "shipping"),
            ("/shipping/rates", "shipping"),
            ("/parcels", "shipping"),
            ("/invoices", "billing"),
            ("/billing/portal", "billing"),
            ("/products", "support"),
            ("/orderly", "support"),
            ("", "support"),
        ],
    )
    def test_are_found_near_the_front_of_the_path(self, path: str, agent: str) -> None:
        assert row("get", path or "/").drafted().suggestion.agent == agent

    def test_of_two_candidates_the_one_that_is_listed_first_wins(self) -> None:
        suggested = row("get", "/orders/{id}/returns").drafted().suggestion

        assert suggested.agent == "orders"
        assert [one for one in suggested.reasons if "belongs to" in one] == [
            "“order” belongs to orders."
        ]


class TestBindings:
    @pytest.mark.parametrize(
        ("name", "claim"),
        [
            ("customer_id", "customer_id"), ("customerId", "customer_id"),
            ("CUSTOMER_ID", "customer_id"), ("customer-id", "customer_id"),
            ("customeruuid", "customer_id"), ("client_number", "customer_id"),
            ("consumerId", "customer_id"), ("buyer_id", "customer_id"),
            ("shopper_id", "customer_id"), ("customer_email", "email"),
            ("customer_mail", "email"), ("buyerEMail", "email"), ("shopper_email_address", "email"),
            ("customer_emails", None), ("customer_ids", None), ("customer_id_type", None),
            ("parent_customer_id", None), ("customer", None), ("id", None), ("email", None),
            ("customer_group_id", None), ("customer_name", None),
        ],
    )  # fmt: skip
    def test_are_made_for_whole_names_only(self, name: str, claim: str | None) -> None:
        expected = {} if claim is None else {name: claim}

        assert row("get", "/a", takes=(name,)).drafted().suggestion.bindings == expected

    @pytest.mark.parametrize("name", ["X-Customer-Id", "x-customer-id", "Customer-Id"])
    def test_see_through_the_prefix_of_a_header(self, name: str) -> None:
        suggested = row("get", "/a", takes=(f"{name}@header",)).drafted().suggestion

        assert suggested.bindings == {name: "customer_id"}

    def test_use_the_name_that_the_argument_has_in_the_tool(self) -> None:
        case = operation_of(
            {"parameters": [parameter("customer_id"), parameter("customer_id", "header")]}
        )

        assert case.suggestion.bindings == {
            "customer_id__query": "customer_id",
            "customer_id__header": "customer_id",
        }

    def test_are_made_by_pointer_inside_of_a_body(self) -> None:
        case = row("post", "/notes", body=("customer_id", "customer_email", "user_id"))

        assert case.drafted().suggestion.bindings == {
            "/body/customer_id": "customer_id",
            "/body/customer_email": "email",
        }

    def test_are_not_made_of_the_client_of_an_authorisation(self) -> None:
        case = row("post", "/applications/{client_id}/token", takes=("client_id@path",))

        assert case.drafted().suggestion.bindings == {}
