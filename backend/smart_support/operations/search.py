"""Which of many operations a message may be about: words in, a ranking out.

The stems of each operation's words (name, summary, path, tags, description) are a stored vector of
PostgreSQL's full text search (`tables.operations`), and PostgreSQL says which stems the words of a
message have; what is remembered of them is counted here. A word counts more the fewer operations
have it and the more prominently they do (after Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009, without the length of a text, which says little here).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import log1p

from smart_support.operations.records import OperationId

MAX_WORDS = 60
"""Words of a message that are looked for; a customer who pastes a letter is served by its start."""

EARLIER = 0.35
"""How much a word of the customer's message before counts beside one of this message."""

WEIGHTS = """
(SELECT json_object_agg(word.lexeme, (
    SELECT max(CASE field WHEN 'A' THEN 1.0 WHEN 'B' THEN 0.8 WHEN 'C' THEN 0.5 ELSE 0.2 END)
    FROM unnest(word.weights) AS field
)) FROM unnest(operations.search) AS word)
"""
"""The stems of an operation's words, and how much each counts by where it stands.

A: name and summary; B: the fixed part of the path and what the method does; C: tags;
D: description.
"""

LEXEMES = """
SELECT jsonb_agg(tsvector_to_array(to_tsvector('english', word)) ORDER BY place) AS lexemes
FROM unnest(CAST(:words AS text[])) WITH ORDINALITY AS asked(word, place)
"""
"""The stems of each of `words`, in their order."""


class Index:
    """Operations by the stems of their words."""

    def __init__(self, found: Iterable[tuple[OperationId, Mapping[str, float]]]) -> None:
        """Each operation comes with its stems and how much each counts (`WEIGHTS`)."""
        known = sorted(found, key=lambda each: each[0])
        self._ids = [id_ for id_, _ in known]
        # Stem -> how rare it is, and at which weight which operations have it.
        self._places: dict[str, tuple[float, dict[float, list[int]]]] = {}
        having: dict[str, dict[float, list[int]]] = {}
        for place, (_, weights) in enumerate(known):
            for stem, weight in weights.items():
                having.setdefault(stem, {}).setdefault(weight, []).append(place)
        for stem, places in having.items():
            count = sum(map(len, places.values()))
            rarity = log1p((len(known) - count + 0.5) / (count + 0.5))
            self._places[stem] = (rarity, places)

    def ranked(self, asked: Mapping[str, float]) -> tuple[OperationId, ...]:
        """The operations that have some of the stems `asked`, the likeliest first."""
        scores = [0.0] * len(self._ids)
        for stem, count in asked.items():
            if stem not in self._places:
                continue
            rarity, places = self._places[stem]
            for weight, those in places.items():
                worth = rarity * count * weight
                for place in those:
                    scores[place] += worth
        hits = [place for place, score in enumerate(scores) if score]
        hits.sort(key=scores.__getitem__, reverse=True)  # keeps the order of what scores the same
        return tuple(self._ids[place] for place in hits)


_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

# What customers say, and what documents say for it. In each row every word may stand for every
# other one, for less than if it were said itself.
_ALIKE = 0.5
_ROWS = (
    "create add new make open register insert publish put",
    "create start begin launch trigger dispatch run generate request",
    "upload add create attach store save",
    "delete remove cancel erase discard drop unset",
    "delete remove unsubscribe unstar unfollow unlink detach",
    "update edit change modify set rename correct adjust alter replace",
    "update close reopen dismiss resolve",
    "get show see view read look fetch retrieve display tell",
    "list show all which",
    "get check whether status",
    "search find look locate query",
    "download export archive",
    "enable activate turn on allow",
    "disable deactivate turn off stop",
    "cancel stop abort halt",
    "rerun retry repeat redeliver resend again",
    "restore recover undelete bring",
    "user person people member account profile somebody someone",
    "member membership belong",
    "repository repo",
    "organization organisation org company",
    "pull pr",
    "authenticated my mine own",
    "invite invitation",
    "order purchase",
    "refund reimburse reimbursement",
    "parcel shipment package delivery shipping tracking",
    "invoice bill billing cost charge price",
    "payment pay paid",
    "phone telephone mobile",
    "mail email address",
    "message comment note reply",
    "ticket case request",
)
_ASKING = {
    "which", "who", "whose", "what", "where", "when", "why", "how", "is", "are", "has", "have",
    "does", "did", "can",
}  # fmt: skip


def question_words(text: str, earlier: Sequence[str] = ()) -> dict[str, float]:
    """The words to look for, and how much each counts (0 to 1).

    Args:
        text: the message that is to be answered.
        earlier: what the customer said before, the newest last; what is asked for may be named
            there ("and the second one?").
    """
    words: dict[str, float] = {}
    said = _words(text)
    for word in said[:MAX_WORDS]:
        words[word] = 1.0
    for past in earlier[-2:]:
        for word in _words(past)[: MAX_WORDS // 2]:
            words.setdefault(word, EARLIER)
    for word, weight in list(words.items()):
        for other in _alike(word):
            words[other] = max(words.get(other, 0.0), _ALIKE * weight)
    if said and said[0] in _ASKING:
        for word in ("get", "list"):
            words[word] = max(words.get(word, 0.0), _ALIKE)
    return words


def _words(text: str) -> list[str]:
    found = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text[:4_000]))]
    return list(dict.fromkeys(found))


def _alike(word: str) -> Iterable[str]:
    for form in {word, word.removesuffix("s"), word.removesuffix("ing"), word.removesuffix("ed")}:
        yield from _THESAURUS.get(form, ())


def _thesaurus() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for row in _ROWS:
        words = row.split()
        for word in words:
            found.setdefault(word, {}).update(dict.fromkeys(w for w in words if w != word))
    return {word: tuple(others) for word, others in found.items()}


_THESAURUS = _thesaurus()
