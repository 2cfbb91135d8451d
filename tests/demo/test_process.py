"""The demo company as others start it: a process of its own."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import httpx
import pytest
from tests.demo.support import ADA

from smart_support.demo.__main__ import main

BOUND = 60  # seconds; a start takes about one


@contextmanager
def started(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running demo company and its address; killed at the end if it still runs."""
    command = [sys.executable, "-m", "smart_support.demo", "--data", str(folder), *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        bound = Timer(BOUND, process.kill)  # ends every wait of this test
        bound.start()
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline() or b"null")
            assert said, process.stderr and process.stderr.read().decode()
            yield process, said["document"].removesuffix("/openapi.json")
        finally:
            bound.cancel()
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    code = process.wait(timeout=BOUND)
    return code, process.stdout.read(), process.stderr.read()


def refund(address: str) -> httpx.Response:
    return httpx.post(
        f"{address}/orders/1002/refunds",
        params=ADA,
        json={"amount": 10},
        headers={"Idempotency-Key": "key-1"},
        trust_env=False,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_told_to_and_keeps_everything(tmp_path: Path, stop: signal.Signals) -> None:
    with started(tmp_path) as (process, address):
        document = httpx.get(f"{address}/openapi.json", trust_env=False).json()
        first = refund(address)
        process.send_signal(stop)
        code, out, err = ended(process)

    with started(tmp_path) as (_, address):
        again = refund(address)

    assert document["servers"][0]["url"].startswith("http://127.0.0.1:")
    assert (code, out, err) == (0, b"", b"")
    assert first.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


def test_loses_nothing_it_answered_when_killed(tmp_path: Path) -> None:
    with started(tmp_path) as (process, address):
        first = refund(address)
        process.kill()
        process.wait(timeout=BOUND)

    with started(tmp_path) as (_, address):  # the folder is free although nobody freed it
        again = refund(address)

    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


def test_does_not_outlive_its_parent(tmp_path: Path) -> None:
    with started(tmp_path, "--until-stdin-closes") as (process, address):
        assert process.stdin is not None
        process.stdin.write(b"whatever is written does not matter\n")
        process.stdin.flush()
        assert httpx.get(f"{address}/_health", trust_env=False).status_code == 200
        process.stdin.close()

        assert ended(process) == (0, b"", b"")


def test_outlives_its_standard_input_unless_told_otherwise(tmp_path: Path) -> None:
    with started(tmp_path) as (process, address):
        assert process.stdin is not None
        process.stdin.close()
        assert httpx.get(f"{address}/_health", trust_env=False).status_code == 200
        assert process.poll() is None


def test_asks_for_the_api_key(tmp_path: Path) -> None:
    with started(tmp_path, "--api-key", "k") as (_, address):
        assert httpx.get(f"{address}/products", trust_env=False).status_code == 401
        headers = {"X-Api-Key": "k"}
        answer = httpx.get(f"{address}/products", headers=headers, trust_env=False)
        assert answer.status_code == 200


def test_imports_nothing_else_of_the_product(tmp_path: Path) -> None:
    code = (
        "import sys, smart_support.demo.__main__\n"
        "print(*(name for name in sys.modules if name.startswith('smart_support.')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=BOUND
    )

    assert all(name.startswith("smart_support.demo") for name in out.stdout.split())


def test_says_that_the_port_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["--data", str(tmp_path), "--port", str(port)])

    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert err == (
        f"demo company: Cannot listen on 127.0.0.1 port {port}: Address already in use.\n"
    )


def test_says_that_the_file_is_broken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.json").write_text("half a fi")

    code = main(["--data", str(tmp_path)])

    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert "Move it away to start afresh." in err
    assert "Traceback" not in err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_refuses_a_port_that_is_none(
    tmp_path: Path, port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--data", str(tmp_path), "--port", port])

    assert exit_.value.code == 2
    assert "--port" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
