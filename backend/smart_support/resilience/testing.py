"""For tests of code that is built on this package: nothing waits, and few attempts are made.

with instant_retries(attempts=2):
...
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Mode:
    instant: bool = False
    attempts: int | None = None


_mode = _Mode()


@contextmanager
def instant_retries(attempts: int | None = None) -> Iterator[None]:
    """Within it no retry of this process waits, and none makes more than `attempts` attempts."""
    before = (_mode.instant, _mode.attempts)
    _mode.instant, _mode.attempts = True, attempts
    try:
        yield
    finally:
        _mode.instant, _mode.attempts = before


def wait_of(seconds: float) -> float:
    """How long to wait where `seconds` would be waited."""
    return 0.0 if _mode.instant else seconds


def attempts_of(attempts: int) -> int:
    """How often to try where it would be tried `attempts` times."""
    return attempts if _mode.attempts is None else min(attempts, _mode.attempts)
