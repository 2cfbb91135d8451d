"""What an operation probably is, and why; never a write called a read.

A suggestion is where a person's review starts. It errs to one side: whatever could change
something upstream is a write that the customer confirms.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from smart_support.errors import Severity, SupportError
from smart_support.operations.approval_rules import check_rules
from smart_support.operations.records import (
    CLAIMS,
    DEFAULT_AGENT,
    Access,
    Classification,
    DraftOperation,
    Risk,
)

HINTS = ("x-openai-isConsequential", "x-readOnlyHint", "x-destructiveHint", "x-agent-confirmation")
"""Fields of an operation in which documents speak of its effect."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "QUERY"}

# Words that say that something happens, also behind a GET. Whole words of the operation's id,
# summary and path, in their base form.
_ACTIONS = _set(
    """accept acknowledge activate add approve archive assign authorize block book cancel
    capture charge clear close complete confirm create deactivate decline delete deny
    destroy disable disconnect dispatch enable enqueue execute expire finish force generate
    grant import install invalidate invite invoke issue kill launch lock login logout logoff
    signin signout signup mark merge modify move mute notify pause pay ping post provision
    publish purchase purge push put reactivate rebuild recalculate redeem refresh regenerate
    register reject release remove renew reopen replace reprocess resend reset restart
    restore resume retry revert revoke rollback rotate run save schedule send set snooze
    start stop submit subscribe suspend sync synchronize terminate toggle touch transfer
    trigger trash unarchive unassign unblock undo undelete uninstall unlock unpublish
    unregister unsubscribe update upgrade upload upsert validate verify void wipe write"""
)
# The same words as things that are only looked at: "list the refunds that were sent".
_LOOKING = _set(
    """count describe download export fetch find get head list lookup query read retrieve
    search show view"""
)
_LOOKUP = _set("""search query lookup find filter list count preview estimate quote""")

_MONEY = _set(
    """balance bank billing capture card charge checkout coupon credit debit discount fee
    giftcard invoice money pay payment payout price purchase refund subscription transaction
    transfer wallet withdraw"""
)
_CONTACT = _set("""address contact email iban mobile phone profile recipient telephone whatsapp""")
_CREDENTIALS = _set(
    """apikey auth authentication authorize credential grant invite key login mfa oauth otp
    password permission pin privilege role secret session sso token totp webhook"""
)
_DELETION = _set("delete destroy erase purge remove trash wipe")

_AGENTS: Mapping[str, frozenset[str]] = {
    "orders": _set("order cart basket checkout purchase fulfillment fulfilment"),
    "returns": _set("return rma exchange"),
    "refunds": _set("refund chargeback"),
    "shipping": _set("shipment shipping delivery parcel tracking"),
    "billing": _set("billing invoice payment subscription"),
    "tickets": _set("ticket case issue conversation"),
}

_CUSTOMER = r"(customer|client|consumer|buyer|shopper)_?"
_CUSTOMER_ID = re.compile(_CUSTOMER + r"(id|uuid|number)", re.IGNORECASE)
_CUSTOMER_EMAIL = re.compile(_CUSTOMER + r"e?_?mail(_?address)?", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


class ConfirmationLocked(SupportError):
    """An operation that deletes, or touches money, contacts or credentials, always asks first."""

    code = "VAL_CONFIRMATION_LOCKED"
    status = 422
    severity = Severity.MEDIUM
    user_message = "This operation must always be confirmed."

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} deletes, or touches money, contacts or credentials: keep it a write that is "
            "confirmed"
        )


class UnknownArgument(SupportError):
    """A binding names an argument that the operation does not have."""

    code = "VAL_UNKNOWN_ARGUMENT"
    status = 422
    severity = Severity.LOW
    user_message = "That argument does not exist."

    def __init__(self, key: str, argument: str, known: Iterable[str]) -> None:
        names = ", ".join(known) or "none"
        super().__init__(f"{key} has no argument {argument!r}; its arguments are: {names}")


class UnknownClaim(SupportError):
    """A binding names something that is not known of a signed-in customer."""

    code = "VAL_UNKNOWN_CLAIM"
    status = 422
    severity = Severity.LOW
    user_message = "That is not known of a customer."

    def __init__(self, claim: str) -> None:
        super().__init__(f"there is no claim {claim!r}; the claims are: {', '.join(CLAIMS)}")


def words_of(*texts: str) -> list[str]:
    """The words of names and sentences in lower case: `cancelOrder_v2` is cancel, order, v, 2."""
    return [word.lower() for text in texts for word in _WORD.findall(text)]


def suggest(operation: DraftOperation) -> Classification:
    """What `operation` probably is, with one reason for each thing said. Total."""
    reasons: list[str] = []
    access = _access(operation, reasons)
    risk = _risk(operation, access, reasons)
    header = operation.hints.get("idempotency_header")
    if header:
        reasons.append(f"It documents the header {header}, so a repeat can be made harmless.")
    return Classification(
        access=access,
        confirm=access is Access.WRITE,
        agent=_agent(operation, reasons),
        bindings=_bindings(operation, reasons),
        risk=risk,
        idempotency_header=header,
        confirm_locked=access is Access.WRITE and risk is Risk.HIGH,
        reasons=tuple(reasons),
    )


def check_classification(operation: DraftOperation, classification: Classification) -> None:
    """Say no to a decision that is unsafe or cannot work.

    Raises:
        ConfirmationLocked: it would let a locked operation run without a yes.
        UnknownArgument, UnknownClaim: a binding that cannot be filled.
        RuleInvalid: an approval rule that is unsafe or cannot work.
    """
    if operation.suggestion.confirm_locked and not (
        classification.confirm and classification.access is Access.WRITE
    ):
        raise ConfirmationLocked(operation.key)
    arguments: Mapping[str, Any] = operation.schema.get("properties", {})
    for argument, claim in classification.bindings.items():
        if argument not in arguments:
            raise UnknownArgument(operation.key, argument, arguments)
        if claim not in CLAIMS:
            raise UnknownClaim(claim)
    check_rules(
        classification.approval_rules,
        confirm=classification.confirm,
        low_impact=classification.risk is Risk.LOW and not operation.suggestion.confirm_locked,
        schema=operation.schema,
    )


def _access(operation: DraftOperation, reasons: list[str]) -> Access:
    method = operation.method
    if method not in _SAFE_METHODS:
        reasons.append(f"{method} may change something.")
        looks = _LOOKUP.intersection(_last_words(operation.path))
        if method == "POST" and looks:
            reasons.append(
                f"Its path ends in “{min(looks)}”, so it may only look something up; "
                "a person can say so."
            )
        return Access.WRITE
    if told := _told_consequential(operation.hints):
        reasons.append(f"The document says with {told} that it changes something.")
        return Access.WRITE
    if word := _action(operation):
        reasons.append(f"{method} should only read, but its name says “{word}”.")
        return Access.WRITE
    reasons.append(f"{method} only reads.")
    return Access.READ


def _told_consequential(hints: Mapping[str, Any]) -> str | None:
    unsafe = {
        "x-openai-isConsequential": True,
        "x-readOnlyHint": False,
        "x-destructiveHint": True,
        "x-agent-confirmation": True,
    }
    return next((name for name, value in unsafe.items() if hints.get(name) is value), None)


def _action(operation: DraftOperation) -> str | None:
    """The word that makes a safe method doubtful, if there is one.

    A name that begins with looking (`getRefundStatus`, `list-updates`) is believed, except for
    how its path ends: `/orders/{id}/cancel` is no place to look, with `?soft=1` behind it or not,
    and neither is `/?do=cancel`.
    """
    path, *query = re.split(r"[?#]", operation.path, maxsplit=1)
    ends = [_last_words(path), *(words_of(part) for part in re.split(r"[?#&=]", "".join(query)))]
    if acts := next((words[0] for words in ends if words and words[0] in _ACTIONS), None):
        return acts
    for name in (operation.operation_id or "", operation.summary):
        words = words_of(name)
        if words and words[0] not in _ACTIONS and _LOOKING.intersection(words[:2]):
            continue
        if found := next((word for word in words if word in _ACTIONS), None):
            return found
    return None


def _last_words(path: str) -> list[str]:
    """The words of the last segment of `path` that is not a variable."""
    fixed = [part for part in re.split(r"[/:?#]", path) if part and "{" not in part]
    return words_of(fixed[-1]) if fixed else []


def _risk(operation: DraftOperation, access: Access, reasons: list[str]) -> Risk:
    if access is Access.READ:
        return Risk.LOW
    words = {
        form
        for word in words_of(
            operation.path, operation.operation_id or "", operation.summary, *operation.tags
        )
        for form in (word, word.removesuffix("s"), word.removesuffix("es"))
    }
    arguments = {form for name in _argument_names(operation) for form in words_of(name)}
    if operation.method == "DELETE" or words & _DELETION:
        reasons.append("It deletes something.")
        return Risk.HIGH
    for topic, found in (
        ("money", words & _MONEY | arguments & {"amount", "iban", "price"}),
        ("contact details", (words | arguments) & _CONTACT),
        ("credentials or permissions", (words & _CREDENTIALS) | arguments & {"password", "secret"}),
    ):
        if found:
            reasons.append(f"It concerns {topic} (“{min(found)}”).")
            return Risk.HIGH
    return Risk.MEDIUM


def _argument_names(operation: DraftOperation) -> list[str]:
    """The names of arguments and of the body's own fields."""
    properties: Mapping[str, Any] = operation.schema.get("properties", {})
    names = [name for name in properties if name != "body"]
    body = properties.get("body")
    while isinstance(body, dict) and isinstance(reference := body.get("$ref"), str):
        following = operation.schema["$defs"].get(reference.removeprefix("#/$defs/"))
        body = following if following is not body else None
    fields = body.get("properties") if isinstance(body, dict) else None
    return [*names, *(fields if isinstance(fields, dict) else ())]


def _agent(operation: DraftOperation, reasons: list[str]) -> str:
    words = {
        form
        for word in words_of(*operation.tags, *operation.path.split("/")[:4])
        for form in (word, word.removesuffix("s"))
    }
    for agent, topics in _AGENTS.items():
        if found := words & topics:
            reasons.append(f"“{min(found)}” belongs to {agent}.")
            return agent
    return DEFAULT_AGENT


def _bindings(operation: DraftOperation, reasons: list[str]) -> dict[str, str]:
    bindings: dict[str, str] = {}
    properties: Mapping[str, Any] = operation.schema.get("properties", {})
    for plan in operation.request_plan["parameters"]:
        name = plan["name"].removeprefix("X-").removeprefix("x-").replace("-", "_")
        claim = None
        if _CUSTOMER_ID.fullmatch(name):
            claim = "customer_id"
        elif _CUSTOMER_EMAIL.fullmatch(name):
            claim = "email"
        if claim and plan["argument"] in properties:
            bindings[plan["argument"]] = claim
            reasons.append(f"{plan['argument']} is the signed-in customer's {claim}.")
    return bindings
