"""Words of people and of APIs must meet: what each becomes, and which are thrown away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.agent.offline.words import STOP, label, parts, stem, terms


class TestParts:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("updateShippingAddress", ["update", "shipping", "address"]),
            ("order_id", ["order", "id"]),
            ("X-API-Key", ["x", "api", "key"]),
            ("HTTPServer", ["http", "server"]),
            ("getHTTPStatus2", ["get", "http", "status2"]),
            ("v2Orders", ["v2", "orders"]),
            ("customer.address.zip", ["customer", "address", "zip"]),
            ("a  b__c", ["a", "b", "c"]),
            ("LINE1", ["line1"]),
            ("", []),
            ("é", []),
        ],
    )
    def test_of_names_in_every_spelling(self, name: str, words: list[str]) -> None:
        assert parts(name) == words

    @given(st.text(max_size=40))
    def test_are_lower_case_and_never_empty(self, name: str) -> None:
        assert all(part and part == part.lower() for part in parts(name))


class TestStem:
    @pytest.mark.parametrize(
        ("word", "base"),
        [
            ("orders", "order"),
            ("deliveries", "shipment"),
            ("categories", "category"),
            ("dies", "die"),  # too short to be a `dy`
            ("boxes", "box"),
            ("addresses", "address"),
            ("address", "address"),
            ("wishes", "wish"),
            ("batches", "batch"),
            ("status", "status"),
            ("analysis", "analysis"),
            ("gas", "gas"),
            ("bus", "bus"),
            ("has", "has"),
            ("tents", "tent"),
            ("s", "s"),
            ("", ""),
        ],
    )
    def test_is_the_word_without_its_plural(self, word: str, base: str) -> None:
        assert stem(word) == base

    @pytest.mark.parametrize(
        ("said", "called"),
        [
            ("parcels", "shipment"), ("packages", "shipment"), ("delivery", "shipment"),
            ("purchases", "order"), ("items", "product"), ("articles", "product"),
            ("reimbursement", "refund"), ("complaints", "ticket"), ("profile", "account"),
            ("remove", "cancel"), ("withdraw", "cancel"), ("deletes", "cancel"),
            ("modify", "change"), ("updates", "change"), ("replace", "change"),
            ("find", "search"), ("tracking", "track"), ("bills", "invoice"),
        ],
    )  # fmt: skip
    def test_has_the_name_that_apis_have_for_it(self, said: str, called: str) -> None:
        assert stem(said) == called

    @given(st.from_regex(r"[a-z]{1,12}", fullmatch=True))
    def test_of_a_stem_is_never_longer_than_a_synonym(self, word: str) -> None:
        once = stem(word)

        assert once
        assert stem(once + "s" if once.endswith("x") else once)


class TestTerms:
    def test_are_stems_without_filler_and_numbers(self) -> None:
        assert terms("Please show me the 2 parcels of my order 1002") == {"shipment", "order"}

    def test_of_filler_alone_are_none(self) -> None:
        assert terms(" ".join(STOP)) == set()
        assert terms("1 22 333") == set()

    def test_keep_words_with_digits_in_them(self) -> None:
        assert terms("usb3 cable") == {"usb3", "cable"}


class TestLabel:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("order_id", "order number"), ("orderId", "order number"),
            ("ticketNo", "ticket number"),
            ("id", "id"), ("no", "no"), ("postalCode", "postal code"), ("idea", "idea"),
            ("id_card", "id card"), ("favouriteColour", "favourite colour"), ("", ""),
        ],
    )  # fmt: skip
    def test_is_what_people_would_say(self, name: str, said: str) -> None:
        assert label(name) == said
