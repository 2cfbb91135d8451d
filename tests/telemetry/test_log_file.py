"""The log file: begun anew by size and by time, private, and no danger when the disk is full."""

import json
import logging
import stat
from pathlib import Path

import pytest
import structlog

from smart_support.errors import SetupError
from smart_support.telemetry import metrics
from smart_support.telemetry.debug import DEBUG, DebugMode
from smart_support.telemetry.log_file import LogFile
from smart_support.telemetry.logs import configure_logs


class Time:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def write(handler: logging.Handler, text: str) -> None:
    handler.emit(logging.makeLogRecord({"msg": text}))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_begins_anew_by_size_and_keeps_so_many(tmp_path: Path) -> None:
    handler = LogFile(path=tmp_path / "a.log", max_bytes=100, keep=2, clock=Time()).open()

    for number in range(40):
        write(handler, f"line {number:03} {'x' * 20}")
    handler.close()

    assert names(tmp_path) == ["a.log", "a.log.1", "a.log.2"]
    assert all((tmp_path / name).stat().st_size <= 100 for name in names(tmp_path))
    assert "line 039" in (tmp_path / "a.log").read_text()


def test_begins_anew_with_each_period(tmp_path: Path) -> None:
    time = Time(86_400.0 * 100)
    handler = LogFile(path=tmp_path / "a.log", clock=time).open()

    for text in ("monday", "monday too"):
        write(handler, text)
    time.now += 86_400
    write(handler, "tuesday")
    handler.close()

    assert (tmp_path / "a.log").read_text() == "tuesday\n"
    assert (tmp_path / "a.log.1").read_text() == "monday\nmonday too\n"


def test_goes_on_with_the_file_of_this_period(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.log"
    for text in ("first run", "second run"):
        handler = LogFile(path=path).open()
        write(handler, text)
        handler.close()

    assert path.read_text() == "first run\nsecond run\n"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    LogFile(path=tmp_path / "a.log").open().close()

    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SetupError, match="SMART_SUPPORT_LOG_FILE"):
        LogFile(path=tmp_path / "file" / "a.log").open()


def dropped() -> float:
    return metrics.snapshot()["smart_support_log_lines_dropped_total", ()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_costs_lines_and_no_more() -> None:
    before = dropped()

    with configure_logs("INFO", "json", stream=Null(), file=LogFile(path=Path("/dev/full"))):
        structlog.get_logger("a").info("happened")

    assert dropped() == before + 1


class Null:
    def write(self, _text: str) -> int:
        return 0

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestDebugMode:
    def test_shows_one_thread_in_detail(self, tmp_path: Path) -> None:
        path = tmp_path / "a.log"

        with configure_logs("INFO", "console", stream=Null(), file=LogFile(path=path)):
            log = structlog.get_logger("a")
            log.debug("before")
            DEBUG.switch(whole=False, threads=["t1"])
            try:
                for thread in ("t1", "t2"):
                    with structlog.contextvars.bound_contextvars(thread_id=thread):
                        log.debug("ours")
                        logging.getLogger("library").debug("theirs")
                log.debug("of nobody")
            finally:
                DEBUG.switch(whole=False)
            log.debug("after")
            log.info("end")

        assert [(line["event"], line.get("thread_id")) for line in lines(path)] == [
            ("ours", "t1"),
            ("theirs", "t1"),
            ("end", None),
        ]

    def test_shows_everything_with_timings_and_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "a.log"

        with configure_logs("WARNING", "console", stream=Null(), file=LogFile(path=path)):
            DEBUG.switch(whole=True)
            try:
                with metrics.timed("a piece"):
                    pass
            finally:
                DEBUG.switch(whole=False)

        (line,) = lines(path)
        assert (line["event"], line["name"]) == ("timed", "a piece")
        assert line["ms"] >= 0  # type: ignore[operator]
        assert line["memory_mb"] > 1  # type: ignore[operator]

    def test_ends_by_itself(self) -> None:
        time = Time()
        debug = DebugMode(time)
        told: list[bool] = []
        unwatch = debug.watch(told.append)

        debug.switch(whole=True, seconds=60)
        assert debug.covers("t1")
        time.now += 60

        assert not debug.covers("t1")
        assert (debug.whole, debug.threads, debug.seconds_left) == (False, frozenset(), 0.0)
        unwatch()
        assert told == [False, True, False]

    @pytest.mark.parametrize(
        ("threads", "seconds"), [([str(n) for n in range(101)], 60), ([], 0), ([], 1e9)]
    )
    def test_has_limits(self, threads: list[str], seconds: float) -> None:
        with pytest.raises(ValueError, match=r"at most|between"):
            DebugMode().switch(whole=False, threads=threads, seconds=seconds)
