"""A small deterministic model for when no key is configured: no learning, plain word rules."""

from smart_support.agent.offline.conversation import reply
from smart_support.agent.offline.server import MODEL, offline_endpoint

__all__ = ["MODEL", "offline_endpoint", "reply"]
