"""What a failing database call means to the rest of the program."""

import asyncpg
from sqlalchemy import exc

from smart_support.errors import DatabaseUnavailable, InvalidInput, SupportError

_UNAVAILABLE = (
    "08",  # connection
    "28",  # authorisation
    "3D",  # no such database
    "40",  # rolled back: serialisation, deadlock
    "53",  # out of disk, memory or connections
    "55P03",  # lock not available
    "57",  # operator intervention: shutdown, statement timeout
    "58",  # input/output
    "25006",  # read-only
    "25P03",  # idle in transaction for too long
)
_UNSTORABLE = ("22021", "22P05")  # a NUL, or no valid UTF-8


def map_database_error(exc_: BaseException) -> SupportError | None:
    """Say what `exc_`, raised by a database call, is in our catalogue; None if it is a bug of ours.

    Constraint violations are None too: only the caller knows what they mean.

    Source: PostgreSQL documentation, appendix A "Error Codes" (SQLSTATE classes).
    """
    if isinstance(exc_, SupportError):
        return exc_
    reason = _reason(exc_)
    sqlstate = _sqlstate(exc_)
    if sqlstate.startswith(_UNSTORABLE):
        return InvalidInput(f"the text cannot be stored: {reason}")
    lost = isinstance(exc_, exc.DBAPIError) and exc_.connection_invalidated
    if lost or sqlstate.startswith(_UNAVAILABLE):
        return DatabaseUnavailable(reason)
    if isinstance(exc_, exc.TimeoutError):
        return DatabaseUnavailable(f"every connection is in use: {reason}", silent=True)
    if isinstance(exc_, TimeoutError):
        return DatabaseUnavailable("PostgreSQL did not answer in time", silent=True)
    # The driver says this of a connection that is closed under a running statement. A connection
    # that the server has just ended, but whose end is not read yet, is to asyncpg in the middle of
    # something, which it calls an error of its own.
    if isinstance(
        exc_,
        (OSError, exc.InterfaceError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    ):
        return DatabaseUnavailable(reason)
    return None


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own error, below the wrapping of SQLAlchemy."""
    below = error.orig if isinstance(error, exc.StatementError) else None
    return below or error


def _sqlstate(error: BaseException) -> str:
    return str(getattr(_driver_error(error), "sqlstate", None) or "")


def _reason(error: BaseException) -> str:
    """The driver's words, without the statement and its parameters: those may be private."""
    below = _driver_error(error)
    return str(below).strip() or type(below).__name__
