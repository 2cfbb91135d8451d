"""Every error of the catalogue through REST and through the socket: code, words, log, metric."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from tests.support.database import Databases
from tests.support.server import ADA, Server, logged, running

from smart_support.cli.catalogue import all_errors
from smart_support.errors import InternalError, RateLimited, SupportError
from smart_support.telemetry import metrics
from smart_support.telemetry.words import languages, message_of, translations

KINDS = all_errors()
CANARY = "c4nary-0f-the-1nside"
NAMES = {kind.__name__: kind for kind in KINDS}

ENGLISH_ALONE = {
    # Only staff meets these, on pages that are in English.
    "de": {
        "CONF_AGENTS_FILE",
        "CONF_OPERATION_REMOVED",
        "CONF_REVIEW_CONFLICT",
        "CONF_RULE_INVALID",
        "FILE_BROKEN",
        "FILE_EMPTY",
        "FILE_NOT_OPENAPI",
        "FILE_TOO_COMPLEX",
        "FILE_TOO_LARGE",
        "FILE_UNREACHABLE",
        "VAL_CONFIRMATION_LOCKED",
        "VAL_UNKNOWN_ARGUMENT",
        "VAL_UNKNOWN_CLAIM",
    },
}
"""Codes whose sentence a language lacks. A new code needs a translation, or a place here."""


def made(kind: type[SupportError]) -> SupportError:
    """An error of this class, whatever its constructor takes, whose text is a canary."""
    error = kind.__new__(kind)
    error.args = (CANARY,)
    if kind.__name__ in {"RateLimited", "TooManyFrames", "ReviewConflict"}:
        error.__dict__.update({"retry_after": 2.5} if issubclass(kind, RateLimited) else {})
        error.__dict__.setdefault("conflicts", ())
    return error


def counted(kind: type[SupportError], place: str) -> float:
    labels = (("code", kind.code), ("place", place), ("severity", kind.severity.value))
    return metrics.snapshot().get(("smart_support_errors_total", labels), 0.0)


@pytest.fixture(scope="module")
async def raising(databases: Databases, template: str) -> AsyncIterator[Server]:
    def prepare(app: FastAPI) -> None:
        async def fail(name: str) -> None:
            raise made(NAMES[name])

        app.router.routes.insert(0, app.router.route_class("/api/raise/{name}", fail))

    with databases.one(template) as url:
        async with running(url, prepare=prepare) as server:
            yield server


@contextmanager
def instead(target: Any, name: str, error: SupportError) -> Iterator[None]:
    """`target.name` raises `error` inside the block."""

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, fail)
        yield


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_over_rest(raising: Server, kind: type[SupportError]) -> None:
    before = counted(kind, "rest")
    with logged() as lines:
        answer = await raising.http().get(f"/api/raise/{kind.__name__}")

    body = answer.json()
    assert answer.status_code == kind.status
    assert (body["code"], body["title"]) == (kind.code, kind.user_message)
    assert (body["retry"], body["action"]) == (kind.retry.value, kind.action.value)
    if kind.status >= 500 and not kind.code.startswith("FILE_"):
        assert CANARY not in answer.text
    (line,) = [line for line in lines if line["event"] == "request_refused"]
    assert (line["code"], line["error"]) == (kind.code, CANARY)
    assert line["correlation_id"] == body["correlation_id"]
    assert line["operation"] == "GET /api/raise/{name}"
    assert counted(kind, "rest") == before + 1


async def test_in_a_frame_of_the_socket(raising: Server) -> None:
    thread = await raising.thread()
    async with raising.chat() as chat:
        for kind in KINDS:
            before = counted(kind, "socket")
            with instead(raising.parts.runner, "cancel", made(kind)), logged() as lines:
                await chat.send("cancel", thread_id=thread)
                said = await chat.only("error")

            assert (said["code"], said["message"]) == (kind.code, kind.user_message)
            assert said["action"] == kind.action.value
            assert said["ref"] == thread
            if kind.code != "VAL_INVALID_INPUT":
                assert CANARY not in json.dumps(said)
            (line,) = [line for line in lines if line["event"] == "frame_refused"]
            assert (line["code"], line["user_id"]) == (kind.code, ADA.id)
            assert line["correlation_id"] == said["correlation_id"]
            assert counted(kind, "socket") == before + 1
        assert await chat.alive()


async def test_while_a_thread_is_followed_the_socket_closes_as_the_class_says(
    raising: Server,
) -> None:
    thread = await raising.thread()
    for kind in KINDS:
        async with raising.chat() as chat:
            with instead(raising.parts.log, "read", made(kind)):
                await chat.send("resume", thread_id=thread)
                frames, code = await chat.closed()

        assert code == kind.close_code, kind.__name__
        if kind.code != "CONN_TOO_SLOW":  # it would not read a frame either
            assert frames[-1]["error"]["code"] == kind.code
            assert frames[-1]["error"]["ref"] == thread


async def test_what_nobody_foresaw_says_nothing_of_itself(raising: Server) -> None:
    thread = await raising.thread()
    async with raising.chat() as chat:

        async def fail(*_: Any, **__: Any) -> None:
            raise ExceptionGroup("several", [KeyError(CANARY), OSError(CANARY * 100_000)])

        with pytest.MonkeyPatch.context() as patch, logged() as lines:
            patch.setattr(raising.parts.runner, "cancel", fail)
            await chat.send("cancel", thread_id=thread)
            said = await chat.only("error")

    assert said["code"] == InternalError.code
    assert CANARY not in json.dumps(said)
    assert len(str(lines[0]["error"])) < 3_000


class TestLanguages:
    @pytest.mark.parametrize("language", languages())
    def test_every_sentence_is_of_a_code_that_exists(self, language: str) -> None:
        codes = {kind.code for kind in KINDS}

        assert set(translations(language)) <= codes
        assert all(text.rstrip()[-1] in ".?!…" for text in translations(language).values())

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_what_has_no_translation_is_said_in_english(self, kind: type[SupportError]) -> None:
        assert message_of(made(kind), "tlh") == kind.user_message
        assert message_of(made(kind), "en") == kind.user_message

    @pytest.mark.parametrize("language", languages()[1:])
    def test_what_has_no_translation_is_known(self, language: str) -> None:
        own = {kind.code for kind in KINDS if kind.user_message != SupportError.user_message}

        assert own - set(translations(language)) == ENGLISH_ALONE[language]

    def test_what_has_no_words_of_its_own_says_the_general_ones(self) -> None:
        error = made(NAMES["SealBroken"])

        assert message_of(error, "de") == translations("de")[InternalError.code]
        assert message_of(error, "en") == InternalError.user_message

    async def test_the_client_s_language_is_spoken(self, raising: Server) -> None:
        answer = await raising.http().get(
            "/api/raise/NotFound", headers={"Accept-Language": "tlh, de-CH;q=0.9, en;q=0.5"}
        )

        assert answer.json()["title"] == translations("de")["VAL_NOT_FOUND"]
