"""What must not leave: secrets, and by default personal data and what people wrote.

For log lines, and for every other text that goes out of the product to those who run it:
alerts, spans, kept errors.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict

HIDDEN = "[hidden]"
DEEPEST = 8  # levels of nested fields that are shown
LONGEST = 16_000  # characters of one field; a traceback fits, a megabyte does not
SHORTEST_SECRET = 8  # characters; a shorter value is too likely a word
MOST_SECRETS = 1_000
SHORT = 64  # characters of a text, such as an id, that is likely to come again
MOST_REMEMBERED = 4_096

_SECRET_NAME = re.compile(
    r"authori[sz]ation|api[-_]?key|token|passw|passphrase|secret|cookie|credential|private[-_]?key",
    re.IGNORECASE,
)
# How many tokens a model took is no secret.
_COUNT_NAME = re.compile(r"(^|_)tokens$", re.IGNORECASE)
_PERSONAL_NAME = re.compile(
    r"e[-_]?mail|phone|(customer|first|last|full|family|given)[-_]?name|street|postal|iban"
    r"|card[-_]?number|birth",
    re.IGNORECASE,
)
_WRITTEN_NAME = frozenset(
    {"text", "content", "message_text", "arguments", "body", "prompt", "question", "reply"}
)
"""Fields that hold what customers, models and APIs said."""

_SECRET_TEXT = (
    (re.compile(r"(\w://[^\s:/@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),  # user:password@host
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\bsk-[\w-]{8,}"), HIDDEN),  # a key of a model endpoint
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),  # a JSON Web Token
    (
        re.compile(r"([?&][\w-]*(?:token|key|secret|password)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
_MAY_BE_SECRET = re.compile(r"://|bearer|basic|sk-|eyJ|[?&]", re.IGNORECASE)
"""What stands in every text that one of the forms above fits: looked for first, being cheaper."""
_EMAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_DIGITS = re.compile(r"\d(?:[ ()./-]{0,2}\d){6}")
_PHONE = re.compile(r"(?<![\w.:/-])(?:\+|00)\d(?:[ ()./-]{0,2}\d){6,14}(?![\w-])")
_LOCAL_PHONE = re.compile(r"(?<![\w.:/-])\(?0\d{2,5}\)?[ /-]{1,2}\d(?:[ -]?\d){4,9}(?![\w-])")
_CARD = re.compile(
    r"(?<![\w-])(?:\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|\d{4}[ -]\d{6}[ -]\d{4,5}|\d{13,19})(?![\w-])"
)
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")  # of the United States
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")


class KnownSecrets:
    """The secrets of this installation, to be found in a text whatever their form."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._form: re.Pattern[str] | None = None

    def add(self, value: str | SecretStr | None) -> None:
        """Hide this value from now on, wherever it stands. Words too short to tell are left."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text or len(text) < SHORTEST_SECRET or len(self._values) >= MOST_SECRETS:
            return
        self._values.add(text)
        longest_first = sorted(self._values, key=len, reverse=True)
        self._form = re.compile("|".join(re.escape(each) for each in longest_first))
        _redacted_short.cache_clear()  # what was shown so far may hold it

    def hide(self, text: str) -> str:
        return text if self._form is None else self._form.sub(HIDDEN, text)


SECRETS = KnownSecrets()
"""Of this process."""


def redacted(text: str) -> str:
    """`text` without what has the form of a secret or of personal data, and not too long."""
    return _redacted_short(text) if len(text) <= SHORT else _redacted(text)


def _redacted(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text)} characters)"
    text = SECRETS.hide(text)
    if _MAY_BE_SECRET.search(text):
        for form, replacement in _SECRET_TEXT:
            text = form.sub(replacement, text)
    if "@" in text:
        text = _EMAIL.sub("[e-mail]", text)
    if _DIGITS.search(text):
        text = _IBAN.sub("[account]", text)
        text = _CARD.sub(_card, text)
        text = _SSN.sub("[number]", text)
        text = _PHONE.sub("[phone]", text)
        text = _LOCAL_PHONE.sub("[phone]", text)
    return text


_redacted_short = lru_cache(MOST_REMEMBERED)(_redacted)
"""Most fields are ids and names of ours, on line after line."""


def _card(found: re.Match[str]) -> str:
    """Hide what is a card number by its check digit (ISO/IEC 7812-1), and no other number."""
    digits = [int(each) for each in found[0] if each.isdigit()]
    doubled = [
        digit if place % 2 == 0 else sum(divmod(2 * digit, 10))
        for place, digit in enumerate(reversed(digits))
    ]
    return "[card]" if sum(doubled) % 10 == 0 else found[0]


def hide_secrets(
    _logger: Any, _method: str, event: EventDict, *, message_text: bool = False
) -> EventDict:
    """Replace what must not be in a log line, by the name of its field or by its own form."""
    return {name: _shown(name, value, 0, written=message_text) for name, value in event.items()}


def _shown(name: str, value: Any, depth: int, *, written: bool) -> Any:
    # structlog's own notes, such as the record, are dropped before the line is rendered.
    if value is None or (depth == 0 and name.startswith("_")):
        return value
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if (instead := _by_name(name) if len(name) <= SHORT else _told_by_name(name)) is not None:
        return instead
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    if name in _WRITTEN_NAME and not written:
        return f"[{len(value)} characters]" if isinstance(value, str) else "[not shown]"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if depth == DEEPEST:
            return "[deeper]"
        if isinstance(value, Mapping):
            return {
                redacted(str(key)): _shown(str(key), each, depth + 1, written=written)
                for key, each in value.items()
            }
        return [_shown("", each, depth + 1, written=written) for each in value]
    return redacted(value if isinstance(value, str) else _text(value))


def _told_by_name(name: str) -> str | None:
    """What stands in the place of a field's value whatever it is; None: look at the value."""
    if _SECRET_NAME.search(name) and not _COUNT_NAME.search(name):
        return HIDDEN
    return "[personal]" if _PERSONAL_NAME.search(name) else None


_by_name = lru_cache(MOST_REMEMBERED)(_told_by_name)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever is logged must not break what logs it
        return f"({type(value).__name__} without a text)"
