"""Tokens: what one says is what another reads, and nothing else counts."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smart_support.errors import NotSignedIn, SetupError
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import LONGEST_LIFE, Tokens, signing_key

KEY = "0123456789abcdef0123456789abcdef"
ADA = Person(id="cus_ada", role=Role.CUSTOMER, name="Ada Quist", email="ada@example.org")
TOKENS = Tokens(KEY)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
PEOPLE = st.builds(Person, id=TEXT, role=st.sampled_from(Role), name=TEXT, email=st.none() | TEXT)


def token_of(person: Person = ADA) -> str:
    return TOKENS.issue(person, now=datetime.now(UTC), ttl=60)


def signed(key: str = KEY, algorithm: str = "HS256", **changed: Any) -> str:
    """A token with these claims; None takes a claim away."""
    now = datetime.now(UTC)
    claims = {
        "iss": "smart-support",
        "sub": "cus_ada",
        "role": "customer",
        "name": "Ada",
        "exp": now + timedelta(seconds=60),
        **changed,
    }
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


@given(person=PEOPLE)
def test_what_is_signed_is_what_is_read(person: Person) -> None:
    assert TOKENS.read(token_of(person)).person == person


@given(place=st.integers(0, 10_000), to=st.sampled_from("aZ0-_."))
def test_one_other_character_makes_it_worthless(place: int, to: str) -> None:
    token = token_of()
    place %= len(token)
    tampered = token[:place] + to + token[place + 1 :]
    # The last characters of a part hold bits that are padding, which decoding ignores.
    assume(
        [decoded(part) for part in tampered.split(".")]
        != [decoded(part) for part in token.split(".")]
    )

    with pytest.raises(NotSignedIn):
        TOKENS.read(tampered)


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) if len(part) % 4 != 1 else b""


@given(text=st.text(max_size=200))
def test_no_text_is_too_odd_to_be_refused(text: str) -> None:
    with pytest.raises(NotSignedIn):
        TOKENS.read(text)


@pytest.mark.parametrize(
    "token",
    [
        signed(exp=datetime(2020, 1, 1, tzinfo=UTC)),
        signed(exp=None),
        signed(iss="somebody-else"),
        signed(iss=None),
        signed(sub=None),
        signed(sub=7),
        signed(role="admin"),
        signed(role=None),
        signed(name=None),
        signed(iat="soon"),
        signed(iat=1e300),
        signed(jti=7),
        signed(key="another key that is long enough to be one"),
        signed(key=KEY * 2, algorithm="HS512"),
        jwt.encode({"sub": "cus_ada"}, None, algorithm="none"),
    ],
    ids=range(15),
)
def test_a_token_that_is_not_all_right_is_not_a_token(token: str) -> None:
    with pytest.raises(NotSignedIn):
        TOKENS.read(token)


def test_nobody_can_say_that_no_signature_is_needed() -> None:
    _, claims, _ = token_of().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())

    for signature in ("", "x"):
        with pytest.raises(NotSignedIn):
            TOKENS.read(f"{header.decode().rstrip('=')}.{claims}.{signature}")


def test_a_refusal_does_not_repeat_the_token() -> None:
    token = signed(iss="somebody-else")

    with pytest.raises(NotSignedIn) as refusal:
        TOKENS.read(token)

    assert token not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_token_ends_when_it_was_said_to() -> None:
    now = datetime.now(UTC)

    assert TOKENS.read(TOKENS.issue(ADA, now=now, ttl=60)).person == ADA
    with pytest.raises(NotSignedIn):
        TOKENS.read(TOKENS.issue(ADA, now=now - timedelta(seconds=61), ttl=60))


def test_each_token_has_an_id_of_its_own_and_the_moment_of_its_issue() -> None:
    now = datetime.now(UTC)

    one, other = (TOKENS.read(TOKENS.issue(ADA, now=now, ttl=60)) for _ in range(2))

    assert one.token_id != other.token_id
    assert one.issued_at == other.issued_at == now.timestamp()
    assert one.valid_until == int(now.timestamp() + 60)


def test_a_token_of_another_program_has_an_id_too() -> None:
    token = signed()

    read = TOKENS.read(token)

    assert read.token_id == TOKENS.read(token).token_id != TOKENS.read(signed(name="Bea")).token_id
    assert read.issued_at == read.valid_until - LONGEST_LIFE.total_seconds()
    assert TOKENS.read(signed(jti="mine")).token_id == "mine"


def test_no_token_lives_longer_than_what_was_ended_is_remembered() -> None:
    now, long = datetime.now(UTC), LONGEST_LIFE + timedelta(days=1)

    assert TOKENS.read(TOKENS.issue(ADA, now=now, ttl=long.total_seconds())).valid_until == (
        pytest.approx((now + LONGEST_LIFE).timestamp())
    )
    for refused in (
        signed(exp=now + long),
        signed(iat=now - long, exp=now + timedelta(days=9)),
    ):
        with pytest.raises(NotSignedIn):
            TOKENS.read(refused)


def test_a_person_fills_arguments_with_what_is_known() -> None:
    assert ADA.claims() == {
        "customer_id": "cus_ada",
        "name": "Ada Quist",
        "email": "ada@example.org",
    }
    assert Person(id="x", role=Role.CUSTOMER, name="X").claims() == {
        "customer_id": "x",
        "name": "X",
    }


class TestSigningKey:
    def test_is_made_once_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "signing.key"

        first, again = signing_key(path), signing_key(path)

        assert first == again
        assert len(first) >= 48
        assert path.stat().st_mode & 0o777 == 0o600
        assert signing_key(tmp_path / "other.key") != first

    @pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe"])
    def test_that_is_no_key_says_what_to_do(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "signing.key"
        path.write_bytes(content)

        with pytest.raises(SetupError, match="Delete the file"):
            signing_key(path)

        assert path.read_bytes() == content

    def test_that_cannot_be_kept_says_where(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in place of a folder")

        with pytest.raises(SetupError, match="SMART_SUPPORT_SECRET_KEY") as refusal:
            signing_key(tmp_path / "file" / "signing.key")

        assert str(tmp_path / "file") in str(refusal.value)

    def test_that_is_a_folder_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="directory"):
            signing_key(tmp_path)


class TestReadBefore:
    def test_is_over_when_it_is_over(self) -> None:
        token = token_of()
        now = [datetime.now(UTC).timestamp()]
        tokens = Tokens(KEY, clock=lambda: now[0])

        assert tokens.read(token).person == ADA
        now[0] += 59
        assert tokens.read(token).person == ADA
        now[0] += 2
        with pytest.raises(NotSignedIn):
            tokens.read(token)

    def test_lets_no_other_token_in(self) -> None:
        tokens = Tokens(KEY)
        tokens.read(token_of())

        with pytest.raises(NotSignedIn):
            tokens.read(signed(key="another key that is as long as ours is"))
        with pytest.raises(NotSignedIn):
            tokens.read(token_of() + "x")
        with pytest.raises(NotSignedIn):
            tokens.read("\ud800")
