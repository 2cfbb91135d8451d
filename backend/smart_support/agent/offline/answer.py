"""What a tool answered, in sentences. Says only what the answer says."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from smart_support.agent.offline.tool import READS, Action, Json, Tool, mapping
from smart_support.agent.offline.words import parts

_SHOWN = 8  # entries of a list
_DONE = {
    Action.CREATE: "has been created",
    Action.CHANGE: "has been changed",
    Action.CANCEL: "has been cancelled",
}
# Field, then how it is said; in the order in which people want to know.
_SAID = (
    ("placed_at", "It was placed on {}."),
    ("shipped_at", "It was shipped on {}."),
    ("estimated_delivery", "It is expected to arrive on {}."),
    ("delivered_at", "It was delivered on {}."),
    ("cancelled_at", "It was cancelled on {}."),
    ("requested_at", "It was requested on {}."),
    ("created_at", "It was created on {}."),
    ("carrier", "The carrier is {}."),
    ("tracking_number", "The tracking number is {}."),
    ("subject", "It is about: {}."),
    ("amount", "The amount is {}."),
    ("price", "The price is {}."),
    ("in_stock", "In stock: {}."),
    ("total", "The total is {}."),
    ("refunded", "Refunded so far: {}."),
    ("refundable", "It can still be refunded: {}."),
    ("reason", "The reason given: {}."),
    ("email", "The e-mail address is {}."),
    ("shipping_address", "It goes to {}."),
    ("address", "The address is {}."),
)


def answer(tool: Tool, result: Any, arguments: Json) -> str:
    """The result of a call that went well."""
    if tool.action not in READS:
        return _done(tool, result, arguments)
    if isinstance(result, list):
        return _list(tool, result)
    if not isinstance(result, Mapping):
        return f"The answer is: {result}"
    rows = _rows(result)
    if rows is not None and not {"status", "id"} & result.keys():
        return _list(tool, rows)
    return _thing(tool.subject, result) or "I found nothing about that."


def trouble(error: Json, tool: Tool | None) -> str:
    """A call that did not go well: what is known of it, and no more."""
    said = mapping(error.get("api_said"))
    told = said.get("detail") or said.get("message") or said.get("title")
    outcome = error.get("outcome")
    task = tool.summary[:1].lower() + tool.summary[1:] if tool and tool.summary else "do that"
    if outcome == "unknown":
        return (
            f"I tried to {task}, but I got no clear answer: I do not know whether it took effect. "
            "I will not try again, so that it cannot happen twice. A colleague has to check it."
        )
    if outcome == "declined":
        return "All right, I have not done that. Nothing was changed."
    if error.get("status") == 404:
        return f"I could not find that. {_sentence(told)}".strip()
    unchanged = "" if tool and tool.action in READS else " Nothing was changed."
    because = _sentence(told or error.get("message"))
    return f"That did not work. {because}".strip() + unchanged


def failed(result: Any) -> Json | None:
    """The error in a tool's answer, None if it went well."""
    if isinstance(result, Mapping):
        error = result.get("error")
        if isinstance(error, Mapping):
            return error
        return {"message": str(error)} if error else None
    if isinstance(result, str):
        lowered = result.lower()
        if re.search(r"\b(declined|rejected|not approved|denied|said no)\b", lowered):
            return {"outcome": "declined"}
        if re.search(r"\b(unknown outcome|outcome (is )?unknown|ambiguous)\b", lowered):
            return {"outcome": "unknown"}
        if re.match(r"\W*(error|failed|failure|exception)\b", lowered):
            return {"message": result}
    return None


def money(value: Any) -> str | None:
    """A sum of money, if `value` is one."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("display"), str):
        return str(value["display"])
    currency = value.get("currency")
    if not isinstance(currency, str):
        return None
    for key in ("minor_units", "amount_minor", "cents", "amount_cents"):
        if isinstance(value.get(key), int):
            return f"{value[key] / 100:.2f} {currency}"
    amount = value.get("amount", value.get("value"))
    if isinstance(amount, int | float) or (isinstance(amount, str) and amount):
        return f"{float(amount):.2f} {currency}" if _numeric(amount) else f"{amount} {currency}"
    return None


def choices(result: Any, thing: str) -> str:
    """A short list of what there is to choose from; empty if there is none."""
    rows = _rows(result) if isinstance(result, Mapping) else None
    return "\n".join(f"- {_line(thing, row)}" for row in (rows or [])[:_SHOWN])


def _done(tool: Tool, result: Any, arguments: Json) -> str:
    fields = mapping(result)
    subject = " ".join(parts(tool.subject)) or "request"
    number = fields.get("id")
    # What was added to something comes back with that thing's id, not with one of its own.
    own = number is not None and not (tool.action is Action.CREATE and number in arguments.values())
    name = f"the {subject}" + (f" {number}" if own else "")
    for key, value in arguments.items():
        thing = " ".join(parts(key)[:-1])
        if value == number and thing and thing != subject:
            name = f"the {subject} of {thing} {number}"
    verb = _DONE.get(tool.action, "has been done")
    text = f"Done: {name} {verb}."
    if status := fields.get("status"):
        text += f" Its status is now: {_plain(status)}." if isinstance(status, str) else ""
    order = fields.get("order_id") or arguments.get("order_id")
    if order is not None and str(order) != str(number):
        text += f" It belongs to order {order}."
    telling = ("amount", "refunded") if tool.action is not Action.CHANGE else ("shipping_address",)
    for key in telling:
        if (shown := _shown(fields, key)) and not _is_zero(fields[key]):
            text += " " + dict(_SAID)[key].format(shown)
    return text


def _list(tool: Tool, rows: Sequence[Any]) -> str:
    thing = " ".join(parts(tool.subject)) or "entry"
    plural = (
        thing if thing.endswith("s") else thing[:-1] + "ies" if thing.endswith("y") else f"{thing}s"
    )
    if not rows:
        return f"I found no {plural}."
    known = [row for row in rows if isinstance(row, Mapping)]
    if not known:
        return "I found: " + ", ".join(str(row) for row in rows[:_SHOWN]) + "."
    count = f"{len(known)} {thing if len(known) == 1 else plural}"
    lines = [f"- {_line(thing, row)}" for row in known[:_SHOWN]]
    more = len(rows) - len(lines)
    rest = f"\n\nThere are {more} more." if more > 0 else ""
    return f"I found {count}:\n\n" + "\n".join(lines) + rest


def _line(thing: str, row: Json) -> str:
    name = row.get("name") or row.get("title")
    head = str(name) if name else f"{thing.capitalize()} {row.get('id', '')}".strip()
    facts = []
    if isinstance(row.get("status"), str):
        facts.append(_plain(row["status"]))
    if isinstance(row.get("subject"), str):
        facts.append(row["subject"])
    facts += [shown for key in ("total", "amount", "price") if (shown := _shown(row, key))]
    if isinstance(row.get("in_stock"), int):
        facts.append(f"{row['in_stock']} in stock")
    since = next(
        (row[key] for key in ("placed_at", "requested_at", "created_at") if row.get(key)), None
    )
    if since:
        facts.append(f"from {_plain(since)}")
    if row.get("order_id") and thing != "order":
        facts.append(f"for order {row['order_id']}")
    return f"**{head}**" + (f": {', '.join(facts)}" if facts else "")


def _thing(subject: str, fields: Json) -> str:
    number = fields.get("id") or fields.get(f"{subject}_id") or fields.get("order_id")
    thing = "order" if "order_id" in fields and "id" not in fields else subject or "entry"
    sentences = []
    if isinstance(fields.get("status"), str):
        name = f"{thing.capitalize()} {number}" if number is not None else f"Your {thing}"
        sentences.append(f"{name} is {_plain(fields['status'])}.")
    elif isinstance(fields.get("name"), str):
        sentences.append(f"The name is {fields['name']}.")
    arrived = fields.get("delivered_at") or fields.get("status") == "delivered"
    sentences += [
        words.format(shown)
        for key, words in _SAID
        if not (arrived and key == "estimated_delivery")
        and (shown := _shown(fields, key))
        and not _is_zero(fields[key])
    ]
    text = " ".join(sentences)
    for row in (_rows(fields, "lines") or [])[:_SHOWN]:
        times = f"{row['quantity']} × " if row.get("quantity") else ""
        text += f"\n- {times}{row.get('name') or row.get('sku')}"
    if "shipments" in fields:
        parcels = _rows(fields, "shipments") or []
        text += "".join(f"\n\n{_thing('shipment', each)}" for each in parcels[:_SHOWN])
        text += "" if parcels else " No parcel has been sent yet."
    if events := _rows(fields, "events"):
        last = events[-1]
        place = f" in {last['place']}" if last.get("place") else ""
        what = last.get("description") or _plain(last.get("status", ""))
        text += f" The latest news{place}, {_plain(last.get('at', ''))}: {what}."
    if comments := _rows(fields, "comments"):
        last = comments[-1]
        text += f" The last message, from {last.get('author', 'us')}: “{last.get('text', '')}”"
    return text or _anything(fields)


def _anything(fields: Json) -> str:
    lines = [
        f"- {' '.join(parts(str(key)))}: {_plain(value)}"
        for key, value in fields.items()
        if isinstance(value, str | int | float) and value != ""
    ]
    return "Here is what I found:\n\n" + "\n".join(lines[:12]) if lines else ""


def _shown(fields: Json, key: str) -> str | None:
    value = fields.get(key)
    if value is None or value == "" or isinstance(value, list):
        return None
    if isinstance(value, Mapping):
        if (amount := money(value)) is not None:
            return amount
        inner = [str(each) for each in value.values() if isinstance(each, str | int)]
        return ", ".join(inner) or None
    if isinstance(value, int | float) and isinstance(fields.get("currency"), str):
        return money({"amount": value, "currency": fields["currency"]})
    return _plain(value)


def _plain(value: Any) -> str:
    """A value for people: dates as dates, codes without underscores."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if re.match(r"\d{4}-\d{2}-\d{2}", text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
        return f"{moment.day} {moment:%B %Y}"
    if re.fullmatch(r"[a-z]+(_[a-z]+)+", text):
        return text.replace("_", " ")
    return text.rstrip(".")


def _rows(fields: Json, key: str | None = None) -> list[Json] | None:
    """The list of objects under `key`, or the only list there is; None if there is none."""
    lists = [
        value
        for name, value in fields.items()
        if isinstance(value, list) and (key is None or name == key)
    ]
    if len(lists) != 1:
        return None
    return [each for each in lists[0] if isinstance(each, Mapping)]


def _is_zero(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(value.get(key) == 0 for key in ("minor_units", "amount", "value"))
    return value == 0 and not isinstance(value, bool)


def _numeric(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _sentence(text: Any) -> str:
    words = str(text).strip() if text else ""
    return words if not words or words[-1] in ".!?" else f"{words}."
