"""What the offline model sees in a tool: its words, its kind of action, its arguments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from smart_support.agent.offline.words import parts, stem, terms

Json = Mapping[str, Any]


class Action(Enum):
    """What using a tool would do."""

    LIST = "list"
    READ = "read"
    CREATE = "create"
    CHANGE = "change"
    CANCEL = "cancel"


_ACTIONS = {
    Action.LIST: {"list", "search", "find", "browse", "query"},
    Action.READ: {"get", "read", "show", "fetch", "retrieve", "track", "check", "lookup", "view"},
    Action.CREATE: {"create", "add", "open", "post", "make", "submit", "request", "start", "issue"},
    Action.CHANGE: {"update", "change", "edit", "set", "replace", "modify", "patch", "put"},
    Action.CANCEL: {"cancel", "delete", "remove", "withdraw", "close"},
}
READS = (Action.LIST, Action.READ)


@dataclass(frozen=True)
class Tool:
    """One function tool, read once."""

    name: str
    description: str
    schema: Json
    action: Action
    subject: str
    """What it acts on, as a stem: `order` for `getOrder`, `refund` for `createRefund`."""
    name_terms: frozenset[str]
    summary_terms: frozenset[str]
    other_terms: frozenset[str]

    @property
    def summary(self) -> str:
        """The first line of its description."""
        return self.description.split("\n", 1)[0].rstrip(".")

    @property
    def properties(self) -> Json:
        """The schemas of its arguments by name."""
        return mapping(self.schema.get("properties"))

    @property
    def required(self) -> list[str]:
        """Names of the arguments it cannot do without."""
        return [name for name in self.schema.get("required") or () if name in self.properties]


def read_tool(wire: Json) -> Tool | None:
    """The tool of an OpenAI function object; None if it is no function."""
    function = mapping(wire.get("function"))
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return None
    description = str(function.get("description") or "")
    schema = mapping(function.get("parameters"))
    words = parts(name)
    action = _action(words, description)
    verbs = set().union(*_ACTIONS.values())
    nouns = [stem(word) for word in words if word not in verbs]
    summary, _, rest = description.partition("\n")
    arguments = " ".join(
        f"{key} {mapping(value).get('description', '')}"
        for key, value in mapping(schema.get("properties")).items()
    )
    return Tool(
        name=name,
        description=description,
        schema=schema,
        action=action,
        subject=nouns[-1] if nouns else "",
        name_terms=frozenset(terms(name)),
        summary_terms=frozenset(terms(summary)),
        other_terms=frozenset(terms(f"{rest} {arguments}")),
    )


def mapping(value: object) -> Json:
    """`value` if it is an object, else an empty one: schemas come from strangers."""
    return value if isinstance(value, Mapping) else {}


def resolve(schema: Json, root: Json) -> Json:
    """`schema` with its local `$ref` followed and null alternatives put aside."""
    for _ in range(16):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            found: object = root
            for step in reference[2:].split("/"):
                found = mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
            schema = {**mapping(found), **{k: v for k, v in schema.items() if k != "$ref"}}
            continue
        options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if not isinstance(options, list) or not options:
            break
        kept = [mapping(each) for each in options if mapping(each).get("type") != "null"]
        rest = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf", "allOf")}
        schema = {**(kept[0] if kept else {}), **rest}
    return schema


def kind(schema: Json) -> str:
    """The JSON type that `schema` asks for, `string` where it does not say."""
    declared = schema.get("type")
    if isinstance(declared, list):
        declared = next((each for each in declared if each != "null"), None)
    if isinstance(declared, str):
        return declared
    return "object" if "properties" in schema else "string"


def _action(words: list[str], description: str) -> Action:
    for word in words[:1] + parts(re.split(r"[.\n]", description)[0])[:1] + words:
        for action, verbs in _ACTIONS.items():
            if word in verbs:
                return action
    return Action.CHANGE
