"""Which tool a person means."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from smart_support.agent.offline.tool import READS, Action, Tool
from smart_support.agent.offline.words import terms

THRESHOLD = 4.0
"""Below this score no tool is meant; chosen so that one word in a description is not enough."""

_SAID = 2.0  # per word of the person that a tool's name, times its rarity
_HINTED = 5.0  # per word that a phrase stands for


@dataclass(frozen=True)
class _Phrase:
    pattern: str
    action: Action
    hints: tuple[str, ...]


# In order: a phrase counts only if none before it that is more telling did.
_PHRASES = (
    _Phrase(
        r"\b(cancel|call off|withdraw|stop the order)|don'?t (want|need) .*\bany ?more",
        Action.CANCEL,
        ("cancel",),
    ),
    _Phrase(
        r"\b(add|write|post|leave)\b.*\b(comment|reply|note)|\b(comment|reply) (on|to|in)\b",
        Action.CREATE,
        ("comment",),
    ),
    _Phrase(
        r"\b(open|create|file|raise|make|submit|start)\b.{0,20}\b(ticket|complaint|case)"
        r"|\bcomplain|\bsupport request|\breport (a|this|the|that)\b",
        Action.CREATE,
        ("ticket",),
    ),
    _Phrase(
        r"\b(change|update|correct|new|wrong|different|another|edit)\b.{0,40}\baddress"
        r"|\b(ship|send|deliver)\b.{0,30}\b(instead|somewhere else|to (a|another|my new))"
        r"|\bi('ve| have)? moved\b",
        Action.CHANGE,
        ("address",),
    ),
    _Phrase(
        r"money back|\brefund|\breimburs|give me back|pay(ment)? back", Action.CREATE, ("refund",)
    ),
    _Phrase(r"\breturn|\bsend\b.{0,40}\bback\b", Action.CREATE, ("return",)),
    _Phrase(r"\btickets?\b|\bcomplaints?\b|\bcases?\b", Action.LIST, ("ticket",)),
    _Phrase(
        r"\b(do you|you guys) (have|sell|stock|carry)|\blooking for\b|\bsearch|\bin stock"
        r"|\bavailable|\bprice"
        r"|\bhow much (is|are|does|do)\b|\brecommend|\bproducts?\b|\bbuy\b",
        Action.LIST,
        ("search", "product"),
    ),
    _Phrase(
        r"\bmy (?:\w+ )?(account|profile|details|data|e-?mail|name|address)\b"
        r"|\bdo you (know|have) about me",
        Action.READ,
        ("account",),
    ),
    _Phrase(r"\borders\b|\bpurchases\b|\border history", Action.LIST, ("list", "order")),
    _Phrase(
        r"\bwhere('s| is| are)\b|\btrack|\barriv|\bdeliver(y|ed)?\b|\bparcel|\bpackage"
        r"|\bon (its|the) way|\bcarrier|\bwhen (will|does|do|is|are)\b.*\b(come|get|here|be)\b"
        r"|\bshipment|\bship\b|\bhas .* (shipped|been sent|left)\b",
        Action.READ,
        ("track",),
    ),
    _Phrase(
        r"\b(broken?|damaged|defect(ive)?|faulty|leaks?|problems?|issues?|questions?|wrong item)\b"
        r"|\b(doesn'?t|does not|isn'?t|is not|not) work",
        Action.CREATE,
        ("ticket",),
    ),
    _Phrase(r"\bi (order|bought)", Action.LIST, ("list", "order")),
)
ASKS_TO_SEE = (
    r"^\W*(?:please |and |so |ok |hi |hello |hey |,|also )*"
    r"(?:(?:can|could|would) you (?:please )?)?"
    r"(?:show|list|see|view|tell|what|which|when|where|has|have|did|is|are|was|were|how many"
    r"|how much|check|look|status|any|do i|let me see)\b"
    r"|\bi(?:'d| would)? (?:want|like) to (?:see|know|check)|\b(?:can|could|may) i see\b"
    r"|\bstatus of\b"
)
_ASKS_TO_DO = r"\bis it possible\b|\bi (want|need|would like) (a|my|to)\b(?! (see|know|check))"


def choose(text: str, tools: Sequence[Tool]) -> Tool | None:
    """The tool that `text` asks for, None if it asks for none of them."""
    ranked = sorted(
        ((score(text, tool, tools), -at, tool) for at, tool in enumerate(tools)),
        key=lambda entry: entry[:2],
        reverse=True,
    )
    return ranked[0][2] if ranked and ranked[0][0] >= THRESHOLD else None


def score(text: str, tool: Tool, tools: Sequence[Tool]) -> float:
    """How well `tool` fits `text`; the other `tools` say which of its words are telling."""
    lowered = text.lower()
    said = terms(text)
    phrase = _phrase(lowered)
    total = 0.0
    for term in said:
        rarity = _rarity(term, tools)
        if term in tool.name_terms:
            total += _SAID * rarity
        elif term in tool.summary_terms:
            total += _SAID * 0.5 * rarity
        elif term in tool.other_terms:
            total += _SAID * 0.15 * rarity
    wanted = _wanted(lowered, phrase)
    if phrase is not None:
        for hint in phrase.hints:
            if hint in tool.name_terms:
                total += _HINTED
            elif hint in tool.summary_terms:
                total += _HINTED * 0.8
            elif hint in tool.other_terms:
                total += _HINTED * 0.2
    if total:
        total += _fit(wanted, tool.action) + _ids(text, tool)
        total += 1.5 if tool.subject and tool.subject in said else 0.0
    return total


def _phrase(lowered: str) -> _Phrase | None:
    return next((each for each in _PHRASES if re.search(each.pattern, lowered)), None)


def _wanted(lowered: str, phrase: _Phrase | None) -> Action | None:
    if phrase is None:
        return Action.LIST if re.search(ASKS_TO_SEE, lowered) else None
    if phrase.action not in READS and re.search(ASKS_TO_SEE, lowered):
        return phrase.action if re.search(_ASKS_TO_DO, lowered) else Action.LIST
    return phrase.action


def _fit(wanted: Action | None, action: Action) -> float:
    if wanted is None:
        return 0.0 if action in READS else -2.0  # a write needs to be asked for
    if wanted is action:
        return 3.0
    if wanted in READS:
        return 1.0 if action in READS else -8.0
    return -3.0


def _ids(text: str, tool: Tool) -> float:
    """Whether the numbers in `text` are those that the tool works on."""
    total = 0.0
    numbered = bool(re.search(r"(?:#|\b(?:[A-Za-z]{1,4}-?)?)\d{3,}\b", text))
    prefixes = set(re.findall(r"\b([a-z]{2,5})_\d+", text))
    required = [name for name in tool.required if name.lower().endswith("id")]
    for name in required:
        pattern = str(tool.properties[name].get("pattern", ""))
        if any(prefix in pattern for prefix in prefixes):
            total += 4.0
        elif re.search(r"[a-z]{2,}_", pattern) and not prefixes:
            total -= 3.0  # it wants an id of a kind that nobody named
        elif numbered:
            total += 1.5
    if numbered and not required and tool.action is Action.LIST:
        total -= 1.5
    return total


def _rarity(term: str, tools: Sequence[Tool]) -> float:
    holders = sum(term in tool.name_terms or term in tool.summary_terms for tool in tools)
    return 0.5 + math.log(1 + len(tools) / (1 + holders)) / 2
