"""What an operation probably is, and why; never a write called a read.

A suggestion is where a person's review starts. It errs to one side: whatever could change
something upstream is a write that the customer confirms.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from smart_support.errors import Severity, SupportError
from smart_support.operations.approval_rules import check_rules
from smart_support.operations.binding import arguments_of, can_bind
from smart_support.operations.records import (
    CLAIMS,
    CLEAR,
    DEFAULT_AGENT,
    Access,
    Classification,
    DraftOperation,
    Ground,
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
# Acts that are as often the name of a thing: the schedule of a team, the import that runs.
_THINGS = _set("import merge schedule")
_SHOWING = _set("check describe fetch get list read retrieve show view")
_LOOKUP = _set("""search query lookup find filter list count preview estimate quote""")

_MONEY = _set(
    """authorisation authorization authorise balance bank billing capture card charge checkout
    coupon credit debit deposit discount donate donation fee giftcard invoice money pay payment
    payout price purchase refund subscription transaction transfer wallet withdraw"""
)
_CONTACT = _set("""address contact email iban mobile phone profile recipient telephone whatsapp""")
_CREDENTIALS = _set(
    """apikey auth authentication authorize collaborator credential grant invite key login
    membership mfa oauth otp password permission pin privilege role secret session sso token totp
    webhook"""
)
_DELETION = _set("anonymize anonymise delete destroy erase purge redact remove trash wipe")
# What is one customer's own, so that it matters whose it is.
_PERSONAL = _set(
    """account address appointment basket booking cart customer delivery invoice mail message
    notification order parcel payment profile purchase refund reservation return shipment
    statement subscription ticket transaction user wishlist"""
)
# A PUT that says one of these does it once more each time.
_ADDING = _set("add append attach enqueue increase increment notify post push send transfer")
# Words with which a description speaks to the model instead of describing.
_ORDERS = re.compile(
    r"(?:ignore|disregard|forget|override)\b[^.\n]{0,40}\b(?:instruction|prompt|rule|previous|above)"
    r"|\b(?:system|developer) (?:prompt|message)\b|<\/?(?:system|instructions?|im_start|im_end)\b"
    r"|\b(?:do not|don't|never) (?:tell|inform|ask|mention)\b[^.\n]{0,30}\b(?:user|customer|human)"
    r"|\b(?:you are|act as|pretend to be) (?:an?|the) [^.\n]{0,30}\b(?:ai|assistant|agent|model)\b"
    r"|\b(?:always|must) (?:call|use|invoke) this (?:tool|function|operation)\b"
    r"|\bwithout (?:asking|confirmation|approval)\b",
    re.IGNORECASE,
)

# One of these is in whatever matches; looking for all of them is much cheaper.
_ORDER_WORDS = (
    "ignore", "disregard", "forget", "override", "system", "developer", "<", "not", "n't", "never",
    "you are", "act as", "pretend", "always", "must", "without",
)  # fmt: skip


def _orders(text: str) -> str | None:
    """The words of `text` that speak to the model, if there are any."""
    lower = text.lower()
    if lower.isascii() and not any(word in lower for word in _ORDER_WORDS):
        return None
    found = _ORDERS.search(text)
    return found[0] if found else None


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
_QUERY = re.compile(r"[?#]")
_PAIRS = re.compile(r"[?#&=]")
_PARTS = re.compile(r"[/:?#]")


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
    if len(texts) == 1:
        return list(_words(texts[0]))
    return [word for text in texts for word in _words(text)]


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    # Asked for the same names again and again; capitals count, so they go at the end.
    return tuple([word.lower() for word in _WORD.findall(text)])


class _Grounds(list[Ground]):
    """What is said of one operation, in the order in which it is said."""

    def say(
        self, about: str, reason: str, confidence: float, place: str = "", quote: str = ""
    ) -> None:
        """Say one thing more, read from `place`, where `quote` says so."""
        self.append(
            Ground(about=about, reason=reason, confidence=confidence, place=place, quote=quote)
        )


def suggest(operation: DraftOperation) -> Classification:
    """What `operation` probably is, with one reason for each thing said. Total."""
    grounds = _Grounds()
    fields = _body_fields(operation)
    access = _access(operation, grounds)
    risk = _risk(operation, access, fields, grounds)
    header = operation.hints.get("idempotency_header")
    if header:
        reason = f"It documents the header {header}, so a repeat can be made harmless."
        grounds.say("idempotency_header", reason, 0.95, "parameters", header)
    agent = _agent(operation, grounds)
    bindings = _bindings(operation, fields, grounds)
    unbindable = not bindings and _is_personal(operation, grounds)
    repeatable = _repeatable(operation, access, grounds)
    if orders := _orders(operation.description):
        reason = f"Its description gives orders (“{orders}”): read it before you approve it."
        grounds.say("description", reason, 0.0, "description", orders)
    return Classification(
        access=access,
        confirm=access is Access.WRITE,
        agent=agent,
        bindings=bindings,
        risk=risk,
        idempotency_header=header,
        confirm_locked=access is Access.WRITE and risk is Risk.HIGH and not _may_look(operation),
        reasons=tuple(ground.reason for ground in grounds),
        grounds=tuple(grounds),
        unbindable=unbindable,
        repeatable=repeatable,
    )


_DOUBTED = {"access", "risk", "bindings", "description"}


def is_clear(classification: Classification) -> bool:
    """Whether all rules agree on it: nothing that matters was said in doubt."""
    return all(
        ground.confidence >= CLEAR for ground in classification.grounds if ground.about in _DOUBTED
    )


def check_classification(operation: DraftOperation, classification: Classification) -> None:
    """Say no to a decision that is unsafe or cannot work.

    Raises:
        ConfirmationLocked: it would let a locked operation run without a yes.
        UnknownArgument, UnknownClaim: a binding that cannot be filled.
        RuleInvalid: an approval rule that is unsafe or cannot work.
    """
    rules = suggest(operation)  # whatever was suggested when it was imported, or by the model
    asks = classification.confirm and classification.access is Access.WRITE
    locked = rules.confirm_locked or operation.suggestion.confirm_locked
    # What may only look something up can be called a read; as a write it stays what it touches.
    sensitive = rules.risk is Risk.HIGH and classification.access is Access.WRITE
    if (locked or sensitive) and not asks:
        raise ConfirmationLocked(operation.key)
    for argument, claim in classification.bindings.items():
        if not can_bind(operation.schema, argument):
            raise UnknownArgument(operation.key, argument, arguments_of(operation.schema))
        if claim not in CLAIMS:
            raise UnknownClaim(claim)
    check_rules(
        classification.approval_rules,
        confirm=classification.confirm,
        low_impact=classification.risk is Risk.LOW and not (locked or sensitive),
        schema=operation.schema,
    )


def _access(operation: DraftOperation, grounds: _Grounds) -> Access:
    method = operation.method
    if method not in _SAFE_METHODS:
        looks = _may_look(operation)
        grounds.say("access", f"{method} may change something.", 0.5 if looks else 0.95)
        if looks:
            place, word = looks
            where = "Its path ends in" if place == "" else "Its name begins with"
            reason = f"{where} “{word}”, so it may only look something up; a person can say so."
            grounds.say("access", reason, 0.5, place, word)
        return Access.WRITE
    if told := _told_consequential(operation.hints):
        reason = f"The document says with {told} that it changes something."
        grounds.say("access", reason, 0.95, told)
        return Access.WRITE
    if found := _action(operation):
        place, word = found
        if place == "" and word in _THINGS and _only_shows(operation):
            reason = f"Its path says “{word}”, but its summary that it only shows something."
            grounds.say("access", reason, 0.5, "summary", operation.summary)
            return Access.READ
        reason = f"{method} should only read, but its name says “{word}”."
        grounds.say("access", reason, 0.5, place, word)
        return Access.WRITE
    grounds.say("access", f"{method} only reads.", 0.95)
    return Access.READ


def _may_look(operation: DraftOperation) -> tuple[str, str] | None:
    """Where a POST says that it looks something up, and the word; None if it does not.

    Nothing in its names may say that something happens: `search-and-replace` does more than look.
    """
    if operation.method != "POST":
        return None
    ends = _last_words(operation.path)
    names = (("operationId", operation.operation_id or ""), ("summary", operation.summary))
    words = {*ends, *words_of(*(name for _, name in names))}
    more = {"and"}.intersection(words_of(operation.path, operation.operation_id or ""))
    if more or words & ((_ACTIONS | _DELETION | {"refund", "donate"}) - {"post"}):
        return None
    if looks := (_LOOKUP | {"read"}).intersection(ends):
        return "", min(looks)
    for place, name in (("", " ".join(ends)), *names):
        first = [word for word in words_of(name) if word != "post"][:1]
        if first and first[0] in _LOOKING - {"count", "download", "export", "head"}:
            return place, first[0]
    return None


def _told_consequential(hints: Mapping[str, Any]) -> str | None:
    unsafe = {
        "x-openai-isConsequential": True,
        "x-readOnlyHint": False,
        "x-destructiveHint": True,
        "x-agent-confirmation": True,
    }
    return next((name for name, value in unsafe.items() if hints.get(name) is value), None)


def _action(operation: DraftOperation) -> tuple[str, str] | None:
    """The place and the word that make a safe method doubtful, if there are.

    A name that begins with looking (`getRefundStatus`, `list-updates`) is believed, except for
    how its path ends: `/orders/{id}/cancel` is no place to look, with `?soft=1` behind it or not,
    and neither is `/?do=cancel`.
    """
    path, *query = _QUERY.split(operation.path, maxsplit=1)
    ends = [_last_words(path), *(words_of(part) for part in _PAIRS.split("".join(query)))]
    if acts := next((words[0] for words in ends if words and words[0] in _ACTIONS), None):
        return "", acts
    for place, name in (
        ("operationId", operation.operation_id or ""),
        ("summary", operation.summary),
    ):
        words = words_of(name)
        if words and words[0] not in _ACTIONS and _LOOKING.intersection(words[:2]):
            continue
        if found := next((word for word in words if word in _ACTIONS), None):
            return place, found
    return None


def _only_shows(operation: DraftOperation) -> bool:
    """Whether the summary begins with looking, and nothing in it or the name does more."""
    summary = words_of(operation.summary)
    words = {*summary, *words_of(operation.operation_id or "")}
    return bool(summary) and summary[0] in _SHOWING and not words & (_ACTIONS - _THINGS)


def _last_words(path: str) -> list[str]:
    """The words of the last segment of `path` that is not a variable."""
    fixed = [part for part in _PARTS.split(path) if part and "{" not in part]
    return words_of(fixed[-1]) if fixed else []


def _risk(
    operation: DraftOperation, access: Access, fields: Sequence[str], grounds: _Grounds
) -> Risk:
    if access is Access.READ:
        return Risk.LOW
    said = {
        place: _forms(words_of(*texts))
        for place, texts in (
            ("", (operation.path,)),
            ("operationId", (operation.operation_id or "",)),
            ("summary", (operation.summary,)),
            ("tags", operation.tags),
        )
    }
    words = set().union(*said.values())
    properties: Mapping[str, Any] = operation.schema.get("properties", {})
    names = [*(name for name in properties if name != "body"), *fields]
    arguments = {word for name in names for word in _words(name)}

    def say(reason: str, word: str) -> None:
        place = next((place for place, known in said.items() if word in known), "parameters")
        grounds.say("risk", reason, 0.7 if place == "parameters" else 0.85, place, word)

    if operation.method == "DELETE":
        grounds.say("risk", "It deletes something.", 0.95)
        return Risk.HIGH
    if found := words & _DELETION:
        say("It deletes something.", min(found))
        return Risk.HIGH
    for topic, found in (
        ("money", words & _MONEY | arguments & {"amount", "iban", "price"}),
        ("contact details", (words | arguments) & _CONTACT),
        ("credentials or permissions", (words & _CREDENTIALS) | arguments & {"password", "secret"}),
    ):
        if found:
            say(f"It concerns {topic} (“{min(found)}”).", min(found))
            return Risk.HIGH
    return Risk.MEDIUM


def _forms(words: Iterable[str]) -> set[str]:
    """The words and what they may be the plural of."""
    found = set(words)
    for word in tuple(found):
        if word[-1] == "s":
            found.add(word[:-1])
            found.add(word.removesuffix("es"))
    return found


def _body_fields(operation: DraftOperation) -> list[str]:
    """The names of the body's own fields, those inside others by their way."""
    prefix = "/body/"
    listed = arguments_of(operation.schema)
    return [name.removeprefix(prefix) for name in listed if name.startswith(prefix)]


def _agent(operation: DraftOperation, grounds: _Grounds) -> str:
    words = _forms(words_of(*operation.tags, *operation.path.split("/")[:4]))
    for agent, topics in _AGENTS.items():
        if found := words & topics:
            word = min(found)
            grounds.say("agent", f"“{word}” belongs to {agent}.", 0.6, quote=word)
            return agent
    return DEFAULT_AGENT


def _bindings(
    operation: DraftOperation, fields: Sequence[str], grounds: _Grounds
) -> dict[str, str]:
    """Arguments that are clearly the signed-in customer, also in the body: `/body/customer_id`."""
    bindings: dict[str, str] = {}
    properties: Mapping[str, Any] = operation.schema.get("properties", {})
    named = [(plan["argument"], plan["name"]) for plan in operation.request_plan["parameters"]]
    named = [(argument, name) for argument, name in named if argument in properties]
    named += [(f"/body/{field}", field) for field in fields if "/" not in field]
    for argument, written in named:
        name = written.removeprefix("X-").removeprefix("x-").replace("-", "_")
        if _CUSTOMER_ID.fullmatch(name):
            claim = "customer_id"
        elif _CUSTOMER_EMAIL.fullmatch(name):
            claim = "email"
        else:
            claim = None
        # A client is as often a program of OAuth's as it is somebody who buys.
        if claim and name.lower().startswith("client") and _is_of_oauth(operation):
            continue
        if claim:
            bindings[argument] = claim
            sure = 0.6 if name.lower().startswith("client") else 0.9
            reason = f"{argument} is the signed-in customer's {claim}."
            grounds.say("bindings", reason, sure, "parameters", written)
    return bindings


_OAUTH = _set("app application oauth oauth2 token grant")


def _is_of_oauth(operation: DraftOperation) -> bool:
    return not _OAUTH.isdisjoint(_forms(words_of(operation.path)))


def _is_personal(operation: DraftOperation, grounds: _Grounds) -> bool:
    """Whether it is about things of one customer, though no argument says whose."""
    words = _forms(words_of(operation.path))
    if not (found := words & _PERSONAL):
        return False
    word = min(found)
    reason = f"“{word}” is one customer's own, but no argument says whose: it cannot be bound."
    grounds.say("unbindable", reason, 0.6, quote=word)
    return True


def _repeatable(operation: DraftOperation, access: Access, grounds: _Grounds) -> bool | None:
    """Whether doing it twice is doing it once, as HTTP has it (RFC 9110, 9.2.2)."""
    if access is Access.READ or operation.method not in {"PUT", "DELETE"}:
        return None
    words = words_of(operation.path, operation.operation_id or "", operation.summary)
    if adding := next((word for word in words if word in _ADDING), None):
        reason = f"“{adding}” may do it once more each time, though {operation.method} should not."
        grounds.say("repeatable", reason, 0.5, quote=adding)
        return None
    reason = f"{operation.method} is the same done twice, says HTTP; a person must know if it is."
    grounds.say("repeatable", reason, 0.7)
    return None
