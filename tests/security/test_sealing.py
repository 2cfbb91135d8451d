"""Secrets at rest: opened only with their key, in their place, as they were."""

import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.errors import SetupError
from smart_support.security.sealing import Keys, SealBroken, kept_keys, new_key, parse_keys

ROW = ("credentials", "spec", "live", "key", "scheme", "")
CANARY = "canary-4f1c9a"


@pytest.fixture
def keys() -> Keys:
    return parse_keys(new_key())


SECRETS = st.dictionaries(st.text(), st.text() | st.none() | st.lists(st.text()), max_size=4)
CONTEXTS = st.lists(st.text(), max_size=4)


@given(secret=SECRETS, context=CONTEXTS)
def test_what_was_sealed_is_opened_in_its_place(
    secret: dict[str, object], context: list[str]
) -> None:
    keys = parse_keys(new_key())

    assert keys.open(keys.seal(secret, context), context) == secret


@given(context=CONTEXTS, other=CONTEXTS)
def test_it_is_worthless_in_any_other_place(context: list[str], other: list[str]) -> None:
    keys = parse_keys(new_key())
    sealed = keys.seal({"value": CANARY}, context)

    if context != other:
        with pytest.raises(SealBroken):
            keys.open(sealed, other)


def test_it_gives_nothing_away_and_never_looks_the_same(keys: Keys) -> None:
    once, again = (keys.seal({"value": CANARY}, ROW) for _ in range(2))

    assert once != again
    for sealed in (once, again):
        assert CANARY not in sealed
        assert CANARY.encode() not in base64.urlsafe_b64decode(sealed.rpartition(".")[2])


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_changed_bit_is_noticed(place: int, bit: int) -> None:
    keys = parse_keys(new_key())
    head, _, text = keys.seal({"value": CANARY}, ROW).rpartition(".")
    hidden = bytearray(base64.urlsafe_b64decode(text))
    hidden[place % len(hidden)] ^= 1 << bit

    with pytest.raises(SealBroken):
        keys.open(f"{head}.{base64.urlsafe_b64encode(hidden).decode()}", ROW)


@pytest.mark.parametrize(
    "downgraded",
    [
        json.dumps({"value": CANARY}),
        f"v0..{CANARY}",
        f"v1..{CANARY}",
        "v1.{id}.",
        "v1.{id}.AAAA",
        "v1.{id}.not base64 é",
        "",
        ".",
        "plain",
    ],
)
def test_a_row_in_plain_or_of_another_form_is_refused(keys: Keys, downgraded: str) -> None:
    with pytest.raises(SealBroken) as refused:
        keys.open(downgraded.replace("{id}", keys.newest), ROW)

    assert CANARY not in str(refused.value)


def test_a_new_key_seals_and_old_ones_still_open(keys: Keys) -> None:
    old, new = new_key(), new_key()
    sealed = parse_keys(old).seal({"value": CANARY}, ROW)

    both = parse_keys(f"{new},{old}")

    assert both.open(sealed, ROW) == {"value": CANARY}
    assert not both.is_newest(sealed)
    assert both.is_newest(both.seal({}, ROW))
    with pytest.raises(SealBroken, match="SMART_SUPPORT_SEALING_KEYS"):
        parse_keys(new).open(sealed, ROW)


def test_a_key_under_anothers_id_does_not_open() -> None:
    mine, theirs = new_key(), new_key()
    sealed = parse_keys(mine).seal({"value": CANARY}, ROW)
    forged = f"{mine.partition(':')[0]}:{theirs.partition(':')[2]}"

    with pytest.raises(SealBroken):
        parse_keys(forged).open(sealed, ROW)


def test_keys_are_never_shown(keys: Keys) -> None:
    key = new_key()

    assert key.partition(":")[2] not in repr(parse_keys(key))


@pytest.mark.parametrize(
    "text", ["", "k1", "k1:", "k1:short", f"k 1:{'A' * 43}=", f"k1:{'A' * 43}=,x", f"k1:{'é' * 32}"]
)
def test_keys_of_another_form_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(SetupError) as refused:
        parse_keys(text)

    assert text.partition(":")[2] not in str(refused.value) or not text.partition(":")[2]


def test_two_keys_with_one_id_are_refused() -> None:
    with pytest.raises(SetupError, match="number 2"):
        parse_keys(f"k1:{new_key().partition(':')[2]} k1:{new_key().partition(':')[2]}")


class TestKept:
    def test_a_key_is_made_once_and_only_its_user_can_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "sealing.keys"

        first, second = kept_keys(path), kept_keys(path)

        assert first.newest == second.newest
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [each.name for each in path.parent.iterdir()] == ["sealing.keys"]

    def test_many_at_once_get_the_same(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: kept_keys(tmp_path / "sealing.keys").newest, range(64)))

        assert len(set(found)) == 1

    def test_a_file_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "sealing.keys").write_text("something else")

        with pytest.raises(SetupError, match="sealing key"):
            kept_keys(tmp_path / "sealing.keys")

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(SetupError, match="SMART_SUPPORT_SEALING_KEYS"):
            kept_keys(tmp_path / "file" / "sealing.keys")
