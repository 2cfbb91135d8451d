"""Which agent answers a message: the one whose work its words are about."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from smart_support.agent.agents import Agents
from smart_support.tools.build import Tool

_WORD = re.compile(r"[^\W\d_]{3,}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """about and any are can could for from get has have how into its list may new not one only
        our out please some that the their them this want was what which will with would
        you your customer customers""",
    )
)
_STICKINESS = 1.5
"""By how much another agent must fit better than the one that the customer is talking with."""


def choose_agent(
    text: str, agents: Agents, tools: Mapping[str, Mapping[str, Tool]], current: str | None
) -> str:
    """The agent for the message `text`; `current` is who answered the last one, if anybody.

    Each agent is known by the words of its purpose and of its tools. A word counts more the fewer
    agents know it (inverse document frequency); when nothing speaks for a change, there is none.
    """
    stay = current if current is not None and current in agents.by_name else agents.first
    if len(agents.by_name) == 1:
        return stay
    known = {name: Counter(_words(_described(agents, tools, name))) for name in agents.by_name}
    said = set(_words([text]))
    scores = {name: _score(said, known, name) for name in known}
    best = max(scores, key=lambda name: (scores[name], name == stay))
    return best if scores[best] > _STICKINESS * scores[stay] else stay


def _score(said: set[str], known: Mapping[str, Counter[str]], name: str) -> float:
    total = 0.0
    for word in said:
        if count := known[name][word]:
            knowing = sum(word in words for words in known.values())
            total += math.log(1 + len(known) / knowing) * (1 + math.log(count))
    return total


def _described(agents: Agents, tools: Mapping[str, Mapping[str, Tool]], name: str) -> Iterable[str]:
    yield agents.by_name[name].purpose
    for tool in tools.get(name, {}).values():
        yield _CAMEL.sub(" ", tool.name)
        yield tool.title


def _words(texts: Iterable[str]) -> list[str]:
    return [
        _stem(word) for text in texts for word in _WORD.findall(text.lower()) if word not in _COMMON
    ]


def _stem(word: str) -> str:
    """Without the commonest English endings: enough for `refunds` to meet `refunded`."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word
