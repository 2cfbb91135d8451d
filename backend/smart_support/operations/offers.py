"""What may be called, as a process remembers it for as long as nobody changes it."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from smart_support.errors import Severity, SupportError
from smart_support.operations.records import Access, Operation, OperationId
from smart_support.operations.search import Index

Made = TypeVar("Made")


class Withdrawn(SupportError):
    """The operation is not approved as the turn knew it, or is called elsewhere; nothing was sent.

    Somebody has decided about it, imported its document or moved its API since the turn began.
    """

    code = "TOOL_WITHDRAWN"
    status = 409
    severity = Severity.LOW
    user_message = "That has just been changed and is not available at the moment."

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} was changed or taken back by the company just now. Nothing was sent. "
            "Say so, and do not try again in this turn."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What must be known of an approved operation to say whether it may be offered, and by whom."""

    id: OperationId
    version: int
    """Of the operation; a decision or a new import makes another."""
    key: str
    tool_name: str
    access: Access
    agent: str
    """Its owner, as the review names it."""
    claims: frozenset[str]
    """What must be known of a customer for its bound arguments."""
    unbindable: bool
    address: str | None
    """Where its API is, if that is known."""

    @classmethod
    def of(cls, operation: Operation, base_url: str | None) -> "Offer":
        """What must be known of `operation`, whose API is at `base_url`."""
        decided = operation.classification
        return cls(
            id=operation.id,
            version=operation.version,
            key=operation.key,
            tool_name=operation.tool_name,
            access=decided.access,
            agent=decided.agent,
            claims=frozenset(decided.bindings.values()),
            unbindable=decided.unbindable,
            address=address_of(base_url, operation.request_plan["server"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Approvals:
    """Everything that may be called, as of one version of the catalogue."""

    version: int | None
    """Of the catalogue; None: nothing was ever changed in it."""
    offers: tuple[Offer, ...]
    """Ordered by name."""
    index: Index
    """Their words."""
    _by_id: Mapping[OperationId, Offer] = field(repr=False)
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, version: int | None, found: Iterable[tuple[Offer, Mapping[str, float]]]
    ) -> "Approvals":
        """These offers with their words (`Index`)."""
        known = tuple(found)
        offers = tuple(offer for offer, _ in known)
        return cls(
            version=version,
            offers=offers,
            index=Index((offer.id, words) for offer, words in known),
            _by_id={offer.id: offer for offer in offers},
        )

    def allow(self, operation: Operation, address: str) -> bool:
        """Whether exactly this operation may be called at `address`."""
        offer = self._by_id.get(operation.id)
        return offer is not None and offer.version == operation.version and offer.address == address

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes of these approvals, made once for each `key`; forgotten with them.

        Keys must be few: nothing is dropped before.
        """
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made


def address_of(base_url: str | None, server: str | None) -> str | None:
    """Where an operation is called: at its document's address, else at an absolute one of its own.

    A relative server of its own is so to the document's.
    """
    address = base_url or server
    return address if address is not None and "://" in address else None
