"""What must not leave: secrets and personal data in any text, and nothing else than those."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from smart_support.telemetry import redaction
from smart_support.telemetry.redaction import (
    HIDDEN,
    LONGEST,
    KnownSecrets,
    hide_secrets,
    redacted,
)

PERSONAL = [
    "ada@example.org",
    "Ada.Quist+shop@mail.example.co.uk",
    "+49 30 901820",
    "+1 (415) 555-0132",
    "+442079460958",
    "0049 30 901820",
    "030 901820",
    "(0171) 234-5678",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "078-05-1120",
]
HARMLESS = [
    "0192f3a4-5b6c-7d8e-9f00-112233445566",
    "2026-11-25T18:37:23.123456Z",
    "order 1002 of 2026-03-01 costs 19.99",
    "10.0.0.12:5432",
    "status 503 after 30.0 s, 1048576 bytes",
    "4111 1111 1111 1112",  # no card: the check digit is wrong
    "GET /orders/{order_id}",
    "version 1.45.2, port 8000",
]


PIECES = ["Bearer ", "basic\t", "sk-", "SK-", "eyJ", "://", "u:pw1234@", "h.test", "?token=", "&"]
PIECES += ["api_key=", "abcdefgh123", ".", " ", "x", "\u017f", "\u212a"]


@pytest.mark.parametrize("value", PERSONAL)
def test_personal_data_is_hidden_in_a_sentence(value: str) -> None:
    shown = redacted(f"cannot serve {value}, sorry")

    assert value not in shown
    assert not any(len(part) > 4 and part in shown for part in value.split())
    assert shown.startswith("cannot serve [")
    assert shown.endswith("], sorry")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "name", ["email", "customer_name", "customerEmail", "phone", "street", "iban", "date_of_birth"]
)
def test_a_field_that_is_personal_by_its_name_is_hidden(name: str) -> None:
    shown = hide_secrets(None, "info", {"event": "e", name: "Ada Quist", "in": {name: "Ada"}})

    assert shown[name] == "[personal]"
    assert shown["in"] == {name: "[personal]"}


@pytest.mark.parametrize("name", ["text", "content", "arguments", "body", "prompt"])
def test_what_was_written_is_shown_only_when_asked_for(name: str) -> None:
    event = {"event": "e", name: "Where is my order?"}

    assert hide_secrets(None, "info", dict(event))[name] == "[18 characters]"
    assert hide_secrets(None, "info", dict(event), message_text=True) == event


def test_a_secret_of_this_installation_is_found_in_any_sentence() -> None:
    secrets = KnownSecrets()
    secrets.add(SecretStr("correct horse battery"))
    secrets.add("correct horse battery staple")
    secrets.add("short")
    secrets.add(None)

    shown = secrets.hide("is correct horse battery staple, not correct horse battery; short")

    assert shown == f"is {HIDDEN}, not {HIDDEN}; short"


def test_what_becomes_a_secret_is_hidden_where_it_was_shown_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction, "SECRETS", secrets := KnownSecrets())
    text = "open sesame at nine"
    before = redacted(text)

    secrets.add("open sesame")

    assert (before, redacted(text)) == (text, f"{HIDDEN} at nine")
    redaction._redacted_short.cache_clear()  # it knows this test's secret


@given(
    parts=st.lists(
        st.sampled_from(PIECES),
        max_size=12,
    )
)
def test_looking_first_for_what_every_secret_has_misses_none(parts: list[str]) -> None:
    text = "".join(parts)

    expected = text
    for form, instead in redaction._SECRET_TEXT:
        expected = form.sub(instead, expected)

    assert bool(redaction._MAY_BE_SECRET.search(text)) or expected == text


def test_a_megabyte_is_cut() -> None:
    assert len(redacted("x" * 2**20)) < LONGEST + 50


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError


def test_what_has_no_text_is_named() -> None:
    shown = hide_secrets(None, "info", {"event": "e", "odd": Unspeakable()})

    assert shown["odd"] == "(Unspeakable without a text)"


@given(text=st.text(max_size=400))
def test_is_total_and_quick_and_says_the_same_again(text: str) -> None:
    once = redacted(text)

    assert redacted(once) == once


@given(
    before=st.text(alphabet="abc ,.", max_size=10),
    secret=st.from_regex(r"[A-Za-z0-9]{12,40}", fullmatch=True),
)
def test_a_token_is_hidden_wherever_it_stands(before: str, secret: str) -> None:
    for form in ("Bearer {}", "sk-{}", "https://u:{}@h.test/", "https://h.test/?api_key={}"):
        assert secret not in redacted(f"{before} {form.format(secret)}")


def test_one_thing_after_another_hides_neither_from_us() -> None:
    shown = redacted("+49 30 7654321 4111 1111 1111 1111 DE89 3704 0044 0532 0130 00")

    assert shown == "[phone] [card] [account]"
