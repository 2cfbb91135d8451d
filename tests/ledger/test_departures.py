"""What a killed process leaves behind about the calls that it let leave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from smart_support.ledger.departures import KEPT_SECONDS, Departures

LEFT, STAYED = "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"
DEAD, ME = 7, 8

PROCESS = f"""
import sys
from pathlib import Path
from smart_support.ledger.departures import Departures
with Departures(Path(sys.argv[1]), {DEAD}).kept() as departures:
    departures.leaves({LEFT!r})
    print("ready", flush=True)
    sys.stdin.read()
"""


def started(folder: Path) -> "subprocess.Popen[bytes]":
    """A process that has let one call leave, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "backend")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_tells_of_a_process_that_was_killed_what_left_it_and_of_a_living_one_nothing(
    tmp_path: Path,
) -> None:
    with Departures(tmp_path, ME).kept() as departures, started(tmp_path) as process:
        living = [departures.never_left(DEAD, call) for call in (LEFT, STAYED)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        dead = [departures.never_left(DEAD, call) for call in (LEFT, STAYED)]

    assert living == [False, False]
    assert dead == [False, True]


def kept(folder: Path, owner: int, *, boot: str = "this") -> None:
    """The file of a process that has let LEFT leave and is gone."""
    with Departures(folder, owner, boot=boot).kept() as departures:
        departures.leaves(LEFT)


def test_what_is_not_known_is_never_said_to_have_stayed(tmp_path: Path) -> None:
    kept(tmp_path, DEAD)
    here, rebooted = (Departures(tmp_path, ME, boot=boot) for boot in ("this", "next"))

    assert here.never_left(DEAD, STAYED)
    assert not here.never_left(DEAD, LEFT)
    assert not here.never_left(9, STAYED)  # a process of another machine
    assert not here.never_left(None, STAYED)  # who sent it was not noted
    assert not rebooted.never_left(DEAD, STAYED)  # what was written may be lost


def test_a_file_that_cannot_be_written_vouches_for_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs, Departures(tmp_path, DEAD, boot="this").kept() as departures:
        assert departures._file is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, departures._file)
        os.close(full)
        departures.leaves(LEFT)
        departures.leaves(LEFT)  # and goes on

    assert not Departures(tmp_path, ME, boot="this").never_left(DEAD, STAYED)
    assert [line["event"] for line in logs] == ["departures_given_up"]


def test_a_folder_that_cannot_be_made_is_said_and_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with capture_logs() as logs, Departures(tmp_path / "file" / "x", DEAD).kept() as departures:
        departures.leaves(LEFT)

    assert not departures.never_left(DEAD, STAYED)
    assert [line["event"] for line in logs] == ["departures_not_kept"]


@pytest.mark.parametrize(("age", "stays"), [(KEPT_SECONDS / 2, True), (KEPT_SECONDS * 2, False)])
def test_files_of_long_ago_are_cleared_away(tmp_path: Path, age: float, stays: bool) -> None:
    kept(tmp_path, DEAD)
    (file,) = tmp_path.iterdir()
    os.utime(file, (time.time() - age,) * 2)

    kept(tmp_path, ME)

    assert file.exists() is stays


def test_the_file_of_a_process_that_lives_is_never_cleared_away(tmp_path: Path) -> None:
    with Departures(tmp_path, DEAD, boot="this").kept():
        (file,) = tmp_path.iterdir()
        os.utime(file, (0, 0))

        kept(tmp_path, ME)

        assert file.exists()
