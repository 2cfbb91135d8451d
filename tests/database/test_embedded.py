"""Starting and stopping a real PostgreSQL, alone and among other processes."""

import asyncio
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.support.database import FAST

from smart_support.database import embedded
from smart_support.database.embedded import EmbeddedServer, embedded_postgres
from smart_support.errors import SetupError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder; whatever still runs in it after the test is ended."""
    made = Path(tempfile.mkdtemp(prefix="ste-"))
    yield made
    end_servers(made)
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def blank() -> Iterator[Path]:
    """A cluster that was started and stopped once, to be copied: initdb takes half a second."""
    made = Path(tempfile.mkdtemp(prefix="ste-"))
    server = EmbeddedServer(made, options=FAST)
    try:
        server.start()
        server.stop()
        yield made / "postgres"
    finally:
        end_servers(made)
        shutil.rmtree(made)


@pytest.fixture
def used(folder: Path, blank: Path) -> Path:
    """A folder with a cluster in it that is not running."""
    shutil.copytree(blank, folder / "postgres")
    owner = blank.stat()
    for path in (folder / "postgres", *(folder / "postgres").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    return folder


def end_servers(folder: Path) -> None:
    """A test that failed must not leave a server behind."""
    for cluster in folder.rglob("postgres"):
        if pid := postmaster(cluster.parent):
            psutil.Process(pid).kill()


def postmaster(folder: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, psutil.NoSuchProcess):
        pid = int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        if psutil.Process(pid).name() == "postgres":
            return pid
    return None


class User:
    """Another process that uses the embedded PostgreSQL of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.embedded_user", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @cached_property
    def url(self) -> str:
        """Waits until it has started."""
        assert self.process.stdout is not None
        return next(line.strip() for line in self.process.stdout if line.startswith("postgresql:"))

    def leave(self) -> int:
        assert self.url
        self.process.communicate(timeout=40)
        return self.process.returncode

    def killed(self) -> None:
        assert self.url
        self.process.kill()
        self.process.communicate(timeout=10)


def select_one(url: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT 1").fetchone()
    assert row is not None
    return row[0]


async def test_keeps_its_data_between_starts_and_stops_at_the_end(folder: Path) -> None:
    async with embedded_postgres(folder, options=FAST) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'ÄÖ' AS word")
        first = postmaster(folder)
    stopped = postmaster(folder)
    async with embedded_postgres(folder, options=FAST) as url:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT lower(word) FROM kept").fetchone()

    assert first is not None
    assert stopped is None
    assert postmaster(folder) is None
    assert row == ("äö",)


async def test_the_cluster_is_closed_to_others_and_listens_nowhere(used: Path) -> None:
    async with embedded_postgres(used, options=FAST) as url:
        with psycopg.connect(url) as connection:
            listens = connection.execute("SHOW listen_addresses").fetchone()
        process = psutil.Process(postmaster(used))
        addresses = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]

    assert stat.S_IMODE((used / "postgres").stat().st_mode) == 0o700
    assert listens == ("",)
    assert addresses == []


def test_what_a_killed_process_left_is_taken_over_and_stopped(used: Path) -> None:
    User(used).killed()
    orphan = postmaster(used)

    heir = User(used)
    answer, taken_over = select_one(heir.url), postmaster(used)
    code = heir.leave()

    assert orphan is not None
    assert taken_over == orphan
    assert answer == 1
    assert code == 0
    assert postmaster(used) is None


def test_two_processes_do_not_stop_each_other(used: Path) -> None:
    one, other = User(used), User(used)
    same = one.url == other.url
    server = postmaster(used)

    one.leave()
    after_one, answer = postmaster(used), select_one(other.url)
    other.leave()

    assert same
    assert server is not None
    assert after_one == server
    assert answer == 1
    assert postmaster(used) is None


def test_two_processes_that_start_at_once_share_a_new_cluster(folder: Path) -> None:
    first, second = User(folder), User(folder)

    answers = [select_one(first.url), select_one(second.url)]
    codes = [first.leave(), second.leave()]

    assert answers == [1, 1]
    assert codes == [0, 0]
    assert postmaster(folder) is None


async def test_two_users_in_one_process_count_as_two(used: Path) -> None:
    one, other = EmbeddedServer(used, options=FAST), EmbeddedServer(used, options=FAST)
    one.start()
    url = other.start()

    one.stop()
    answer = select_one(url)
    other.stop()
    other.stop()

    assert answer == 1
    assert postmaster(used) is None


def test_ctrl_c_reaches_us_and_not_the_server(used: Path) -> None:
    user = User(used)
    assert user.url
    server = postmaster(used)
    assert server is not None
    sessions = os.getsid(server), os.getsid(user.process.pid)

    os.killpg(user.process.pid, signal.SIGINT)
    # Its input stays open until the signal has ended what it was doing.
    deadline = time.monotonic() + 40
    while postmaster(used) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    code = user.leave()

    assert sessions[0] != sessions[1]
    assert code == 130
    assert postmaster(used) is None
    assert "received fast shutdown request" in (used / "postgres" / "server.log").read_text()


@pytest.mark.parametrize("steps", [1, 40])
async def test_a_start_that_is_cancelled_leaves_no_server(used: Path, steps: int) -> None:
    async def use() -> None:
        async with embedded_postgres(used, options=FAST):
            raise AssertionError

    task = asyncio.create_task(use())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert postmaster(used) is None


async def test_a_cancellation_while_it_stops_still_stops_it(used: Path) -> None:
    running = asyncio.Event()

    async def use() -> None:
        async with embedded_postgres(used, options=FAST):
            running.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await running.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert postmaster(used) is None


async def test_a_path_too_long_for_a_socket_gets_a_short_closed_one(folder: Path) -> None:
    deep = folder / ("d" * 50) / ("e" * 50)

    async with embedded_postgres(deep, options=FAST) as url:
        answer = select_one(url)
        socket = embedded.EmbeddedServer(deep)._socket_folder_in_use()

    assert answer == 1
    assert socket is not None
    assert len(str(socket)) <= embedded.LONGEST_SOCKET_FOLDER
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert postmaster(deep) is None
    socket.rmdir()


async def test_a_folder_with_odd_characters_works(folder: Path) -> None:
    odd = folder / 'it\'s 100% "odd", $HOME `id` & ünï'

    async with embedded_postgres(odd, options=FAST) as url:
        assert select_one(url) == 1
        socket = embedded.EmbeddedServer(odd)._socket_folder_in_use()

    assert socket is not None
    socket.rmdir()


def test_a_socket_folder_of_somebody_else_is_refused(
    folder: Path, blank: Path, tmp_path: Path
) -> None:
    server = EmbeddedServer(folder / ("d" * 90))
    run = embedded._Programs(Path("/bin"), None)
    theirs = server._choose_socket_folder(run)
    theirs.chmod(0o777)

    with pytest.raises(SetupError, match="belongs to somebody else"):
        server._choose_socket_folder(run)
    theirs.rmdir()


async def test_no_short_folder_at_all_is_said(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = used / ("d" * 90)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    with pytest.raises(SetupError, match="shorter folder with SMART_SUPPORT_DATA_DIR"):
        EmbeddedServer(deep)._choose_socket_folder(embedded._Programs(Path("/bin"), None))


async def test_a_pid_file_whose_number_was_given_to_another_process_is_no_hindrance(
    used: Path,
) -> None:
    (used / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{used}\n0\n5432\n/x\n\n\n")

    async with embedded_postgres(used, options=FAST) as url:
        assert select_one(url) == 1


async def test_half_a_cluster_of_a_killed_start_is_made_again(folder: Path) -> None:
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("18")

    async with embedded_postgres(folder, options=FAST) as url:
        assert select_one(url) == 1
    assert not (folder / "postgres.new").exists()


async def test_an_older_cluster_is_refused_and_kept(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("16\n")

    with pytest.raises(SetupError, match=r"PostgreSQL 16, and this release runs 18.*DATABASE_URL"):
        async with embedded_postgres(folder):
            raise AssertionError
    assert (folder / "postgres" / "PG_VERSION").read_text() == "16\n"


async def test_a_folder_with_something_else_in_it_is_refused_and_kept(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "thesis.txt").write_text("years of work")

    with pytest.raises(SetupError, match="is no PostgreSQL cluster"):
        async with embedded_postgres(folder):
            raise AssertionError
    assert (folder / "postgres" / "thesis.txt").read_text() == "years of work"


async def test_a_server_that_refuses_its_settings_says_why(used: Path) -> None:
    with pytest.raises(SetupError, match=r'(?s)pg_ctl failed.*"many"'):
        async with embedded_postgres(used, options={"max_connections": "many"}):
            raise AssertionError
    assert postmaster(used) is None


async def test_a_place_that_is_no_folder_is_said(folder: Path) -> None:
    (folder / "file").write_text("")

    with pytest.raises(SetupError, match=r"Not a directory.*SMART_SUPPORT_DATA_DIR"):
        async with embedded_postgres(folder / "file" / "data"):
            raise AssertionError


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"], check=False
    ).returncode
    != 0,
    reason="a full disk needs the right to mount one",
)
def test_a_full_disk_is_said(folder: Path) -> None:
    script = 'mount -t tmpfs -o size=8m full "$0" && exec "$1" -m tests.support.embedded_user "$0"'

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, folder, sys.executable],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "The disk is full: make room, and start again." in done.stderr


def test_the_lock_of_a_start_that_hangs_is_not_waited_for_for_ever(
    folder: Path,
) -> None:
    lock = os.open(folder / "lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    with (
        pytest.raises(SetupError, match="starting or stopping"),
        embedded._exclusive(folder / "lock", within=0.05),
    ):
        raise AssertionError
    os.close(lock)


def test_a_program_that_hangs_is_ended_and_named() -> None:
    with pytest.raises(SetupError, match=r"sleep took longer than 0\.05 s"):
        embedded._Programs(Path("/bin"), None)("sleep", "20", timeout=0.05)


def test_a_program_runs_as_ourselves_where_we_are_not_root(folder: Path) -> None:
    run = embedded._Programs(embedded._bin_folder(None), None)

    run.hand_over(folder)
    run.open_way_to(folder)

    assert embedded._owner(folder, root=False) is None
    assert f"(PostgreSQL) {embedded.MAJOR}" in run("pg_ctl", "--version", timeout=10)
    assert run.uid == os.geteuid()
    assert folder.stat().st_uid == os.geteuid()


async def test_a_server_that_died_by_itself_needs_no_stopping(used: Path) -> None:
    async with embedded_postgres(used, options=FAST):
        died = psutil.Process(postmaster(used))
        died.kill()
        psutil.wait_procs([died], timeout=10)

    async with embedded_postgres(used, options=FAST) as url:
        assert select_one(url) == 1


def test_a_server_that_does_not_stop_is_killed_and_recovers(used: Path) -> None:
    server = EmbeddedServer(used, options=FAST, stop_seconds=1)
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE kept ()")
    pid = postmaster(used)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    server.stop()
    after = postmaster(used)
    with psycopg.connect(server.start()) as connection:
        connection.execute("SELECT * FROM kept")
    server.stop()

    assert after is None
    assert postmaster(used) is None


def test_a_server_that_runs_and_does_not_answer_is_named(used: Path) -> None:
    user = User(used)
    user.killed()
    pid = postmaster(used)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(SetupError, match=f"process {pid}. does not answer"):
        EmbeddedServer(used, start_seconds=0).start()


async def test_a_long_log_starts_anew_and_the_old_one_is_kept(used: Path) -> None:
    old = used / "postgres" / "server.log"
    with old.open("ab") as file:
        file.truncate(embedded.LARGEST_LOG + 1)

    async with embedded_postgres(used, options=FAST):
        assert old.stat().st_size < 10_000
    assert old.with_suffix(".log.1").stat().st_size > embedded.LARGEST_LOG
    assert embedded._tail(used / "no.log", 0) == ""


def test_a_missing_wheel_is_said() -> None:
    with pytest.raises(SetupError, match="is not installed here"):
        embedded._bin_folder(None, package="no_such_wheel")


def test_programs_that_only_their_owner_may_run_are_opened_to_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = folder / "a_wheel" / f"pginstall{embedded.MAJOR}" / "bin" / "postgres"
    text = program.parents[1] / "share.txt"
    program.parent.mkdir(parents=True)
    (folder / "a_wheel" / "__init__.py").touch()
    program.touch(mode=0o700)
    text.touch(mode=0o600)
    monkeypatch.syspath_prepend(folder)

    found = embedded._bin_folder(pwd.getpwnam("nobody"), package="a_wheel")

    assert found == program.parent
    assert stat.S_IMODE(program.stat().st_mode) == 0o705
    assert stat.S_IMODE(text.stat().st_mode) == 0o604


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ('could not write to file "x": No space left on device', "make room"),
        ("Disk quota exceeded", "make room"),
        ("could not create directory: Permission denied", "writable"),
        ("Read-only file system", "writable"),
    ],
)
def test_advice_fits_the_cause(said: str, advice: str) -> None:
    assert advice in embedded._advice(said)


def test_no_advice_where_the_cause_is_unknown() -> None:
    assert embedded._advice("could not fork") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
class TestAsRoot:
    def test_the_server_runs_as_the_owner_of_the_cluster(self, folder: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)

        owner = embedded._owner(folder, root=True)

        assert owner is not None
        assert owner.pw_name == "nobody"

    def test_a_user_that_cannot_be_made_is_said(self, folder: Path) -> None:
        with pytest.raises(SetupError, match="does not run as root"):
            embedded._owner(
                folder / "new",
                root=True,
                system_user="no:body",  # a colon parts the fields of passwd
            )

    def test_the_way_to_the_cluster_is_opened_no_wider_than_needed(self, folder: Path) -> None:
        above = folder / "above"
        above.mkdir(mode=0o700)

        embedded._make_passable(above / "postgres")

        assert stat.S_IMODE(above.stat().st_mode) == 0o701
