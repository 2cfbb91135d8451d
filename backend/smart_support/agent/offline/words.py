"""Words of people and words of APIs, brought to one form."""

import re

STOP = frozenset(
    re.findall(
        r"\w+",
        """
    a about an and any are as at be been but by can could did do does for from get give has
    have hello help hey hi how i if in into is it its just know let like me my need of on or
    our please see should show so some tell thank that the their them there they this to us
    want was we were what when where which who will with would you your am not no yes ok one
    customer customers number still now s t m ve re ll d also more than
    """,
    )
)

# Left: what people say. Right: what APIs call it. Both sides are stems.
_SAME = {
    "package": "shipment",
    "parcel": "shipment",
    "delivery": "shipment",
    "shipping": "shipment",
    "purchase": "order",
    "item": "product",
    "article": "product",
    "reimburse": "refund",
    "reimbursement": "refund",
    "complaint": "ticket",
    "complain": "ticket",
    "profile": "account",
    "delete": "cancel",
    "remove": "cancel",
    "withdraw": "cancel",
    "modify": "change",
    "edit": "change",
    "update": "change",
    "replace": "change",
    "find": "search",
    "tracking": "track",
    "bill": "invoice",
}


def parts(name: str) -> list[str]:
    """The words of an identifier: `updateShippingAddress`, `order_id`, `X-API-Key`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [part.lower() for part in re.split(r"[^A-Za-z0-9]+", spaced) if part]


def stem(word: str) -> str:
    """`word` without its plural, and under the name that APIs have for it."""
    base = word
    if len(word) > 4 and word.endswith("ies"):
        base = word[:-3] + "y"
    elif re.search(r"(ss|sh|ch|x)es$", word):
        base = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        base = word[:-1]
    return _SAME.get(base, base)


def terms(text: str) -> set[str]:
    """What `text` is about: its stems, without the words that say nothing."""
    return {stem(word) for word in parts(text) if word not in STOP and not word.isdigit()}


def label(name: str) -> str:
    """An identifier as people would say it: `order_id` is `order number`."""
    words = parts(name)
    if len(words) > 1 and words[-1] in {"id", "no"}:
        words[-1] = "number"
    return " ".join(words)
