import asyncio
import io
import json
import logging
import threading
import warnings

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from smart_support.telemetry.logs import HIDDEN, configure_logs, hide_secrets, new_correlation_id


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().removesuffix("\n").split("\n")]


def test_a_line_is_an_event_with_fields_as_json() -> None:
    out = io.StringIO()

    with configure_logs("INFO", "json", stream=out):
        structlog.get_logger("chat").info("turn_opened", attempt=2, ids={"a"})

    (line,) = lines(out)
    assert line["event"] == "turn_opened"
    assert (line["level"], line["logger"], line["attempt"]) == ("info", "chat", 2)
    assert line["ids"] == ["a"]
    assert str(line["timestamp"]).endswith("Z")


async def test_context_is_on_every_line_of_its_task_ours_and_others() -> None:
    out = io.StringIO()

    async def turn(thread_id: str) -> None:
        structlog.contextvars.bind_contextvars(thread_id=thread_id, correlation_id="c1")
        await asyncio.sleep(0)
        structlog.get_logger("chat").info("ours")
        logging.getLogger("somebody.else").info("theirs %s", thread_id)

    with configure_logs("INFO", "json", stream=out):
        await asyncio.gather(asyncio.create_task(turn("t1")), asyncio.create_task(turn("t2")))

    seen = {(line["event"], line["thread_id"], line["correlation_id"]) for line in lines(out)}
    assert seen == {
        ("ours", "t1", "c1"),
        ("theirs t1", "t1", "c1"),
        ("ours", "t2", "c1"),
        ("theirs t2", "t2", "c1"),
    }


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()

    with configure_logs("WARNING", "json", stream=out):
        structlog.get_logger("a").info("quiet")
        logging.getLogger("b").info("quiet")
        structlog.get_logger("a").warning("loud")

    assert [line["event"] for line in lines(out)] == ["loud"]


def test_libraries_that_log_whole_requests_are_kept_quiet() -> None:
    out = io.StringIO()

    with configure_logs("DEBUG", "json", stream=out):
        logging.getLogger("httpx").info("HTTP Request: GET http://upstream.test/?name=Ada")
        logging.getLogger("openai").debug("what the customer wrote")

    assert out.getvalue() == ""


def test_an_exception_has_its_traceback_without_secrets() -> None:
    out = io.StringIO()

    with configure_logs("INFO", "json", stream=out):
        try:
            raise ValueError("postgresql://ada:hunter2@db/support")
        except ValueError:
            structlog.get_logger("a").exception("turn_crashed")
            logging.getLogger("b").exception("crashed")

    for line in lines(out):
        assert "Traceback" in str(line["exception"])
        assert "test_logs.py" in str(line["exception"])
        assert "hunter2" not in str(line)


def test_people_read_it_in_the_console_format() -> None:
    out = io.StringIO()

    with warnings.catch_warnings(), configure_logs("INFO", "console", stream=out):
        warnings.simplefilter("error")
        structlog.get_logger("a").info("turn_opened", attempt=2)
        try:
            raise KeyError("gone")
        except KeyError:
            structlog.get_logger("a").exception("turn_crashed")

    assert "turn_opened" in out.getvalue()
    assert "attempt=2" in out.getvalue()
    assert "KeyError: 'gone'" in out.getvalue()


SECRETS = [
    ("authorization", "x"),
    ("Proxy-Authorization", "x"),
    ("openai_api_key", "x"),
    ("X-API-Key", "x"),
    ("access_token", "x"),
    ("refreshToken", "x"),
    ("password", "x"),
    ("client_secret", "x"),
    ("Set-Cookie", "x"),
    ("private_key", ["x"]),
    ("anything", SecretStr("x")),
    ("anything", SecretBytes(b"x")),
]


@pytest.mark.parametrize(("name", "value"), SECRETS, ids=str)
def test_a_secret_is_hidden_wherever_it_is(name: str, value: object) -> None:
    shown = hide_secrets(None, "info", {"event": "e", name: value, "deep": [{"er": {name: value}}]})

    assert shown[name] == HIDDEN
    assert shown["deep"] == [{"er": {name: HIDDEN}}]


@pytest.mark.parametrize(
    "text",
    [
        "could not reach postgresql://ada:{}@db:5432/x",
        "redis://:{}@cache/0",
        "Authorization: Bearer {}",
        "GET /ws?thread=1&token={} HTTP/1.1",
        "https://x.test/?api_key={}&a=b",
        "the key sk-{} is wrong",
        "signed eyJ{}.eyJ9.abc",
    ],
)
def test_a_secret_inside_a_text_is_hidden(text: str) -> None:
    secret = "s3cr3tvalue123"

    shown = hide_secrets(
        None, "info", {"event": text.format(secret), "error": OSError(text.format(secret))}
    )

    assert secret not in str(shown)
    assert HIDDEN in str(shown["event"])


def test_what_is_no_secret_stays() -> None:
    event = {
        "event": "model_answered",
        "prompt_tokens": 12,
        "url": "https://api.test/orders?page=2",
        "ratio": 0.5,
        "ok": True,
        "none": None,
    }

    assert hide_secrets(None, "info", dict(event)) == event


def test_bytes_and_depths_are_cut() -> None:
    deep: object = "end"
    for _ in range(20):
        deep = [deep]

    shown = hide_secrets(None, "info", {"body": b"12345", "deep": deep})

    assert shown["body"] == "[5 bytes]"
    assert "[deeper]" in str(shown["deep"])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=9)
    | st.text(st.characters(), max_size=20)
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=VALUES)
def test_whatever_is_logged_is_one_line_of_json(value: object) -> None:
    out = io.StringIO()

    with configure_logs("INFO", "json", stream=out):
        structlog.get_logger("a").info("happened", value=value)

    (line,) = lines(out)
    assert line["event"] == "happened"


def test_half_a_surrogate_pair_is_written_all_the_same() -> None:
    out = io.StringIO()

    with configure_logs("INFO", "json", stream=out):
        structlog.get_logger("a").info("happened", said="\ud83d", number=2**70)

    assert lines(out)[0]["said"] == "\ud83d"
    with pytest.raises(TypeError):
        orjson.dumps("\ud83d")


class Stalled(io.StringIO):
    """A terminal that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        self.let.wait(10)
        return super().write(text)


def test_a_stalled_terminal_stops_nobody_and_the_loss_is_told() -> None:
    out = Stalled()

    with configure_logs("INFO", "json", stream=out, queue_lines=4):
        log = structlog.get_logger("a")
        log.info("first")
        assert out.asked.wait(10)
        for number in range(10):
            log.info("more", number=number)
        queued = logging.getLogger().handlers[0].queue  # type: ignore[attr-defined]
        out.let.set()
        queued.join()
        log.info("last")

    written = lines(out)
    assert [line["event"] for line in written] == [
        "first",
        *["more"] * 4,
        "last",
        "log_lines_dropped",
    ]
    assert written[-1]["count"] == 6


def test_a_terminal_that_stays_stalled_does_not_hold_up_the_end() -> None:
    out = Stalled()

    with configure_logs("INFO", "json", stream=out, queue_lines=1, stop_seconds=0.05):
        structlog.get_logger("a").info("first")
        assert out.asked.wait(10)
        structlog.get_logger("a").info("second")

    assert out.getvalue() == ""
    out.let.set()


def test_logging_is_as_before_at_the_end() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("httpx").level

    with configure_logs("DEBUG", "json", stream=io.StringIO()):
        assert root.level == logging.DEBUG

    assert (root.handlers, root.level, logging.getLogger("httpx").level) == before
    assert not structlog.is_configured()


def test_correlation_ids_differ_and_sort_by_time() -> None:
    ids = [new_correlation_id() for _ in range(100)]

    assert len(set(ids)) == 100
    assert ids == sorted(ids)
