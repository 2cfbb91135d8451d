"""What a customer reads of an error, in their language.

A translation is a file `translations/<language>.json` from code to sentence. English stands on the
classes themselves and is what a language falls back to, sentence by sentence.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from smart_support.errors import InternalError, SupportError

ENGLISH = "en"
_LONGEST_HEADER = 1_000  # characters of Accept-Language that are looked at


def message_of(error: SupportError, language: str = ENGLISH) -> str:
    """The sentence for people. One that an error made for itself alone stays in English."""
    kind = type(error)
    if "user_message" in error.__dict__:
        return error.user_message
    known = translations(language)
    if kind.user_message == SupportError.user_message:  # it has no words of its own
        return known.get(kind.code) or known.get(InternalError.code, kind.user_message)
    return known.get(kind.code, kind.user_message)


@cache
def translations(language: str) -> Mapping[str, str]:
    """The sentences of a language by code; empty for English and for what we do not speak."""
    if language not in languages() or language == ENGLISH:
        return {}
    text = (_folder() / f"{language}.json").read_text(encoding="utf-8")
    known: dict[str, str] = json.loads(text)
    return known


@cache
def languages() -> tuple[str, ...]:
    """The languages that we speak, English first."""
    found = (each.name for each in _folder().iterdir() if each.name.endswith(".json"))
    return (ENGLISH, *sorted(name.removesuffix(".json") for name in found))


def preferred(header: str | None) -> str:
    """The best of our languages for an Accept-Language header; English if none of them is there.

    Total: whatever the header holds, it gives a language of ours.

    Source: RFC 9110, 12.5.4 "Accept-Language", matched by primary tag.
    """
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate((header or "")[:_LONGEST_HEADER].split(",")):
        tag, _, weight = part.partition(";")
        primary = tag.strip().lower().partition("-")[0]
        if primary in languages() and (quality := _quality(weight)) > 0:
            wanted.append((-quality, place, primary))
    return min(wanted)[2] if wanted else ENGLISH


def _quality(weight: str) -> float:
    text = weight.strip().lower().removeprefix("q=")
    if not text:
        return 1.0
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _folder() -> Traversable:
    return files(__package__) / "translations"
