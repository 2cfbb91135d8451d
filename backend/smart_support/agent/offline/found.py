"""What can be read out of a sentence: amounts, numbers of things, addresses, reasons."""

import re
from dataclasses import dataclass
from decimal import Decimal

from smart_support.agent.offline.words import terms

_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP"}
_NAMES = {"dollar": "USD", "euro": "EUR", "pound": "GBP"}
_CODES = "USD|EUR|GBP|CHF|CAD|AUD|JPY|SEK|NOK|DKK|PLN|INR"
_NUMBER = r"(?P<{0}>\d{{1,3}}(?:,\d{{3}})+(?:\.\d{{1,2}})?|\d+(?:[.,]\d{{1,2}})?)(?!\d)"
_AMOUNT = re.compile(
    rf"(?P<sign>[$€£])\s?{_NUMBER.format('a')}"
    rf"|\b{_NUMBER.format('b')}\s?(?P<after>[$€£]|(?:{_CODES}|euros?|dollars?|pounds?)\b)"
    rf"|\b(?P<before>{_CODES})\s?{_NUMBER.format('c')}"
    r"|(?<![#\w])(?P<plain>\d+[.,]\d{2})(?![\d.,]?\d)",
    re.IGNORECASE,
)
_NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTS = {word: number for number, word in enumerate(_NUMERALS, start=1)}
_COUNTRIES = {
    "austria": "AT", "australia": "AU", "belgium": "BE", "canada": "CA", "switzerland": "CH",
    "germany": "DE", "denmark": "DK", "spain": "ES", "finland": "FI", "france": "FR",
    "united kingdom": "GB", "uk": "GB", "great britain": "GB", "england": "GB", "scotland": "GB",
    "ireland": "IE", "india": "IN", "italy": "IT", "japan": "JP", "luxembourg": "LU",
    "netherlands": "NL", "the netherlands": "NL", "norway": "NO", "new zealand": "NZ",
    "poland": "PL", "portugal": "PT", "sweden": "SE", "united states": "US", "usa": "US",
}  # fmt: skip

# Words that say that there is something to say, and not what.
_EMPTY = frozenset({"ticket", "problem", "issue", "question", "request", "something", "support"})


@dataclass(frozen=True)
class Amount:
    """Money that someone named; `currency` is an ISO 4217 code, None if they named none."""

    value: Decimal
    currency: str | None


def amounts(text: str) -> list[Amount]:
    """Every sum of money in `text`: with a currency, or with two decimals."""
    return [_amount(match) for match in _AMOUNT.finditer(text)]


def without_amounts(text: str) -> str:
    """`text` where no sum of money can be taken for the number of a thing."""
    return _AMOUNT.sub(" ", text)


def numbered(text: str, kind: str, pattern: str | None, *, alone: bool) -> list[str]:
    """Numbers or ids of a `kind` of thing, the most certain first.

    `pattern` is the JSON Schema pattern they must match. `alone` also takes what matches but
    was not called a `kind`.
    """
    text = without_amounts(text)
    called = [
        match.group(1)
        for match in re.finditer(
            rf"\b{re.escape(kind)}s?\b\W{{0,2}}(?:number|no\.?|id|nr\.?)?\s*(?:is\s)?"
            r"[:#]?\s*#?([A-Za-z]*[-_]?\d[\w-]*)",
            text,
            re.IGNORECASE,
        )
    ]
    hashed = re.findall(r"#\s?([A-Za-z]*[-_]?\d[\w-]*)", text)
    others = re.findall(r"(?<![\w#.,-])([A-Za-z]*[-_]?\d[\w-]*)(?![.,]\d)", text) if alone else []
    if pattern is None:
        others = [each for each in others if len(each) > 2]
    candidates = dict.fromkeys([*called, *hashed, *others])
    return [each for each in candidates if pattern is None or _matches(pattern, each)]


def count(text: str) -> int | None:
    """How many are wanted: `last 3 orders`, `my latest order`."""
    match = re.search(
        r"\b(?:last|latest|newest|recent|first|top)\s+(\d{1,2}|[a-z]+)\b", text.lower()
    )
    if match is None:
        return None
    word = match.group(1)
    if word.isdigit():
        return int(word) or None
    return _COUNTS.get(word, None if word.endswith("s") else 1)


def quantity(text: str, thing: str) -> int | None:
    """How many of `thing` are named right before it: `two boots`."""
    numeral = "|".join(_NUMERALS)
    match = re.search(rf"\b(\d{{1,3}}|{numeral})\s+(?:\w+\s+)?{re.escape(thing)}", text.lower())
    if match is None:
        return None
    return int(match.group(1)) if match.group(1).isdigit() else _COUNTS[match.group(1)]


def address(text: str) -> dict[str, str]:
    """Parts of a postal address, named as APIs mostly do; empty if there is none."""
    if "," not in text:
        return {}
    # It begins after the last word that can lead to it, before the first comma.
    leading = list(re.finditer(r"(?:\b(?:to|is|at)|:)\s+", text[: text.index(",")]))
    start = text[leading[-1].end() :] if leading else text
    sections = [each.strip(" .!?") for each in re.split(r"[,\n]", start)]
    found: dict[str, str] = {}
    for section in filter(None, sections):
        lowered = section.lower()
        if lowered in _COUNTRIES or re.fullmatch(r"[A-Z]{2}", section):
            found["country"] = _COUNTRIES.get(lowered, section)
        elif "street" not in found:
            key = "street" if re.search(r"\d", section) else "name"
            found[key] = section
        elif match := re.search(
            r"\b(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4,6}(?:-\d{4})?)\b", section
        ):
            found["postal_code"] = match.group()
            if city := (section[: match.start()] + section[match.end() :]).strip():
                found.setdefault("city", city)
        elif "city" not in found and not re.search(r"\d", section):
            found["city"] = section
    return found if "street" in found else {}


def reason(text: str) -> str | None:
    """Why, in the person's own words."""
    return (
        _first(text, r"\b(?:because|since|due to|the reason (?:is|was)|reason:)\s+(?:of\s+)?(.+)")
        or _damage(text)
        or _first(
            text,
            r"(?:[,.;:!–-]|\band|\bas)\s+"
            r"((?:it|they|he|she|this|that|these|those|one|the|i(?!'d| want| need| would))\b.+)",
            r"[,.;:–-]\s+((?:too|wrong|not|never|arrived|late)\b.+)",
            r"\b((?:it|they) (?:is|are|was|were|arrived|came|do|does|did|don'?t|doesn'?t)\b.+)",
        )
    )


def _first(text: str, *patterns: str) -> str | None:
    for pattern in patterns:
        if match := re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return _sentence(match.group(1))
    return None


def _damage(text: str) -> str | None:
    """The clause that says what is broken. By clauses, since one pattern would be quadratic."""
    for clause in re.split(r"[,.;!?]|\band i\b", text, flags=re.IGNORECASE):
        if re.search(r"\b(?:broken|damaged|defective|faulty|leaks?)\b", clause, re.IGNORECASE):
            return _sentence(clause)
    return None


def message(text: str) -> str | None:
    """What someone wants written down, without the words that ask for writing it."""
    if quoted := re.search(r"[\"“](.{3,}?)[\"”]", text, re.DOTALL):
        return quoted.group(1).strip()
    introduced = re.search(
        r"\b(?:ticket|complaint|case|comment|note|reply|request)\b[^:.,]{0,60}?"
        r"(?::|,|\.|\bsaying(?: that)?|\bthat|\bbecause|\babout)\s+(.+)",
        text,
        re.IGNORECASE | re.DOTALL,
    )
    if introduced:
        return _sentence(introduced.group(1))
    asks = re.match(
        r"^\W*(?:please |can you |could you |i want to |i'd like to |i would like to )*"
        r"(?:open|create|file|raise|make|submit|add|write)\b",
        text,
        re.IGNORECASE,
    )
    telling = {word for word in terms(text) if word not in _EMPTY}
    return None if asks or len(telling) < 2 else _sentence(text)


def _sentence(text: str) -> str:
    text = " ".join(text.split()).strip(" ,;:")
    return text[:1].upper() + text[1:]


def _amount(match: re.Match[str]) -> Amount:
    raw = next(match.group(name) for name in ("a", "b", "c", "plain") if match.group(name))
    digits = raw.replace(",", "") if re.search(r",\d{3}", raw) else raw.replace(",", ".")
    unit = (match.group("sign") or match.group("after") or match.group("before") or "").lower()
    currency = _SIGNS.get(unit) or _NAMES.get(unit.rstrip("s")) or unit.upper() or None
    return Amount(Decimal(digits), currency)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # a pattern in another dialect: the executor validates
