"""Starts `smart-support serve` often and fast: everything is imported once, then forked.

    python -m tests.faults.nursery      # a line of JSON {"env": {...}, "log": path} in, a pid out

A child is the command itself, as if it had been started with this environment. All of them end
with this process, which ends when its standard input closes.
"""

import json
import os
import signal
import sys

from smart_support.cli.commands import cli


def child(asked: dict[str, object], null: int) -> None:
    env, log = asked["env"], asked["log"]
    assert isinstance(env, dict)
    assert isinstance(log, str)
    os.environ.clear()
    os.environ.update(env)
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for old, new in ((0, null), (1, to), (2, to)):
        os.dup2(new, old)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", buffering=1)
    sys.argv = ["smart-support", "serve"]
    cli()


def tend() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    null = os.open(os.devnull, os.O_RDONLY)
    pids: list[int] = []
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            child(json.loads(line), null)
            os._exit(0)
        pids.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    tend()
