"""What the model reads of a call that gave no answer, in words that it can pass on."""

import json

from smart_support.resilience.records import CallFailed
from smart_support.tools import answer

UNKNOWN = "TOOL_OUTCOME_UNKNOWN"
STILL_RUNNING = "TOOL_STILL_RUNNING"
NOT_SENT = "TOOL_NOT_SENT"
NOT_DONE = "TOOL_NOT_DONE"
REPEATED = "TOOL_CALL_RUNNING"

NO_CLEAR_ANSWER = (
    "The request was sent but no clear answer came back. It may or may not have "
    "taken effect. It must not be repeated; a person has to check."
)
INTERRUPTED = (
    "The request was sent, then we were interrupted. It may or may not have taken effect. "
    "It must not be repeated; it is being checked."
)
ACCEPTED = (
    "The API accepted the request and is still working on it. It is not done yet. It must not be "
    "repeated; say that it is under way and that its end will be told here."
)
NEVER_SENT = "We were interrupted before the request was sent. Nothing was changed."
FOUND_DONE = "Its answer was lost. A person of the support team checked: it has taken effect."
CHECKED_NOT_DONE = "It was checked: the request did not take effect. Nothing was changed."

_VERSION_CHANGED = (
    "It was changed by somebody else since it was read. Nothing was changed by us. Read it again, "
    "say what is different, and ask whether it is still wanted."
)


def interrupted() -> str:
    """The result of a call that was on its way when its process ended."""
    return answer.failure(UNKNOWN, "unknown", INTERRUPTED)


def never_sent() -> str:
    """The result of a call that its process did not come to."""
    return answer.failure(NOT_SENT, "failed", NEVER_SENT)


def not_done() -> str:
    """The result of a call of which it is known now that it had no effect."""
    return answer.failure(NOT_DONE, "failed", CHECKED_NOT_DONE)


def found_done() -> str:
    """The result of a call of which a person found out that it took effect."""
    return json.dumps({"result": FOUND_DONE})


def accepted(body: bytes) -> str:
    """The result of a call that the API works on still."""
    return answer.failure(STILL_RUNNING, "unknown", ACCEPTED, status=202, body=body)


def failed(error: CallFailed) -> tuple[str, str]:
    """The code and the result of a call that failed."""
    if error.outcome == "unknown":
        told = answer.failure(
            UNKNOWN,
            "unknown",
            f"{error} {NO_CLEAR_ANSWER}",
            status=error.answered,
            body=error.body,
        )
        return UNKNOWN, told
    message = _VERSION_CHANGED if error.answered == 412 else str(error)
    if error.retry_after is not None:
        message += f" It may be tried again in {round(error.retry_after)} seconds."
    return error.code, answer.failure(
        error.code,
        "failed",
        message,
        status=error.answered,
        body=error.body,
        say=error.user_message,
    )
