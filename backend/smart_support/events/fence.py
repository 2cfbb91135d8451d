"""Who may write for a turn: only the process that has it now, however late another one wakes up.

A thread has an epoch, which goes up when one of its turns is taken over. What a process does for
a turn happens inside `fenced`, and each of its writes to the log is refused in a later epoch, in
the same transaction as whatever is written with it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from smart_support.errors import Severity, SupportError
from smart_support.events.records import ThreadId


class WriterReplaced(SupportError):
    """Another process has taken the turn over; nothing was written."""

    code = "REC_WRITER_REPLACED"
    status = 409
    severity = Severity.MEDIUM


@dataclass(frozen=True, slots=True)
class Fence:
    """What a turn's writes carry. `alive` says whether this process still holds its lock."""

    thread_id: ThreadId
    epoch: int
    alive: Callable[[], bool] = lambda: True


_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Everything that is written to this thread inside the block, also by its tasks, is checked."""
    token = _fence.set(fence)
    try:
        yield
    finally:
        _fence.reset(token)


def fence_of(thread_id: ThreadId) -> Fence | None:
    """What a write to this thread has to carry; None if nothing."""
    fence = _fence.get()
    return fence if fence is not None and fence.thread_id == thread_id else None
