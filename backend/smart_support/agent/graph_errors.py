"""How LangGraph can fail under a turn, as our catalogue names it."""

import openai
from langgraph.errors import GraphRecursionError

from smart_support.agent.model_errors import error_of_client
from smart_support.errors import ClientAction, Severity, SupportError


class TooManySteps(SupportError):
    """The turn went round in its graph more often than a turn may."""

    code = "CONV_TOO_MANY_STEPS"
    status = 500
    severity = Severity.HIGH
    user_message = "I went round in circles. Please ask again in other words."
    action = ClientAction.HAND_OFF
    hint = "The model calls tools again and again: read the turn in the replay."


def error_of_agent(error: BaseException) -> SupportError | None:
    """What an exception of LangGraph or the openai package means; None if it is neither's."""
    match error:
        case GraphRecursionError():
            return TooManySteps("LangGraph's limit of steps is reached")
        case openai.OpenAIError():
            return error_of_client(error)
    return None
