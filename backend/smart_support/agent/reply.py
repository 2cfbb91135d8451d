"""What a model answers, piece by piece and as a whole."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer's text, as it arrives."""

    text: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The answer begins again; the Tokens so far are taken back."""


@dataclass(frozen=True, slots=True)
class Switched:
    """Another model goes on. `code` names the failure of the one before."""

    before: str
    after: str
    code: str


@dataclass(frozen=True, slots=True)
class ToolCallRequest:
    """One decision of the model to use a tool.

    `arguments_json` is what the model wrote: usually a JSON object, but nothing is promised.
    """

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call cost, in the model's tokens."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete answer: text, tool calls, or a refusal."""

    text: str = ""
    tool_calls: tuple[ToolCallRequest, ...] = ()
    usage: Usage | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
