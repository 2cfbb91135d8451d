"""Arguments that the signed-in customer fills: gone from what the model sees, set whatever it says.

An argument is named as in the tool's schema, or by a JSON pointer (RFC 6901) into the arguments:
`customer_id`, `/body/customer_id`, `/body/order/buyer/id`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from smart_support.operations.records import JsonObject

_PARTS = ("allOf", "anyOf", "oneOf")
_DEEPEST = 4
"""Levels of objects in which arguments are listed; a deeper one can still be named."""
_MOST = 200


def pointer_of(argument: str) -> tuple[str, ...]:
    """The names on the way to `argument`, from the outside in."""
    if not argument.startswith("/"):
        return (argument,)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in argument[1:].split("/"))


def can_bind(schema: JsonObject, argument: str) -> bool:
    """Whether the arguments described by `schema` have a place of this name.

    Only through objects: which of several items it would be could not be said.
    """
    way = pointer_of(argument)
    return len(way) > 0 and all(way) and _has(schema, schema, way, set())


def _has(root: JsonObject, node: Any, way: tuple[str, ...], seen: set[tuple[str, int]]) -> bool:
    for part in _parts(root, node, seen, len(way)):
        properties = part.get("properties")
        if not isinstance(properties, dict) or way[0] not in properties:
            continue
        if len(way) == 1 or _has(root, properties[way[0]], way[1:], seen):
            return True
    return False


def _parts(
    root: JsonObject, node: Any, seen: set[tuple[str, int]], left: int
) -> list[dict[str, Any]]:
    """`node` and what it is made of, each reference followed once for each way that is left."""
    if not isinstance(node, dict):
        return []
    found = [node]
    reference = node.get("$ref")
    if isinstance(reference, str) and (reference, left) not in seen:
        seen.add((reference, left))
        found += _parts(root, _target(root, reference), seen, left)
    for key in _PARTS:
        if key in node:
            for part in node[key]:
                found += _parts(root, part, seen, left)
    return found


def _target(root: JsonObject, reference: str) -> Any:
    return root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))


def arguments_of(schema: JsonObject) -> list[str]:
    """Every argument that can be bound: the outer ones by name, those in the body by pointer."""
    found = [str(name) for name in schema.get("properties", {})]
    if "body" in found:
        found += _fields(schema, schema["properties"]["body"], "/body", ())
    return list(dict.fromkeys(found))[:_MOST]


def _fields(root: JsonObject, node: Any, at: str, inside: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    if len(inside) >= _DEEPEST:
        return found
    for part in _parts(root, node, set(), 0):
        properties = part.get("properties")
        for name, value in properties.items() if isinstance(properties, dict) else ():
            place = f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}"
            found.append(place)
            found += _fields(root, value, place, (*inside, str(name)))
            if len(found) > _MOST:
                return found
    return found


def at(schema: JsonObject, argument: str) -> tuple[dict[str, Any], bool]:
    """What the schema says of an argument, all its parts together, and whether it is required."""
    nodes: list[Any] = [schema]
    required = False
    for name in pointer_of(argument):
        parts = [part for node in nodes for part in _parts(schema, node, set(), 0)]
        required = any(name in part.get("required", ()) for part in parts)
        nodes = [
            properties[name]
            for part in parts
            if isinstance(properties := part.get("properties"), dict) and name in properties
        ]
    said: dict[str, Any] = {}
    for part in (part for node in nodes for part in _parts(schema, node, set(), 0)):
        said.update(part)
    return said, required


def without(schema: JsonObject, arguments: Iterable[str]) -> dict[str, Any]:
    """`schema` without these arguments, neither offered nor asked for."""
    result = dict(schema)
    for argument in arguments:
        result = _without(schema, result, pointer_of(argument), ())
    return result


def _without(
    root: JsonObject, node: Any, way: tuple[str, ...], inside: tuple[str, ...]
) -> dict[str, Any]:
    out = dict(node)
    name = way[0]
    reference = out.get("$ref")
    if isinstance(reference, str) and reference not in inside:
        # Others may refer to the same schema and keep the argument, so it is written out here.
        target = _target(root, reference)
        if isinstance(target, dict) and _has(root, target, way, set()):
            del out["$ref"]
            out = {**_without(root, target, way, (*inside, reference)), **out}
    for key in _PARTS:
        if key in out:
            out[key] = [
                _without(root, part, way, inside) if isinstance(part, dict) else part
                for part in out[key]
            ]
    properties = out.get("properties")
    gone = free = len(way) == 1
    if isinstance(properties, dict) and name in properties:
        if len(way) > 1 and isinstance(properties[name], dict):
            inner = _without(root, properties[name], way[1:], ())
            free = _is_free(inner)
            gone = free and inner.get("properties") == {}
            out["properties"] = {**properties, name: inner}
        if gone:
            out["properties"] = {k: v for k, v in properties.items() if k != name}
    if free and isinstance(out.get("required"), list):
        out["required"] = [each for each in out["required"] if each != name]
    return out


def _is_free(node: Mapping[str, Any]) -> bool:
    """Whether nothing is left that the model must give: the executor makes the object."""
    return not node.get("required") and not any(key in node for key in ("$ref", *_PARTS))


def fill(
    arguments: Mapping[str, Any], bindings: Mapping[str, str], claims: Mapping[str, str]
) -> dict[str, Any]:
    """`arguments` with the bound ones set from `claims`, whatever they said.

    What stands on the way to one is an object afterwards, even if it was something else or absent.

    Raises:
        KeyError: a claim is not known; who offers tools has made sure that it is.
    """
    filled = dict(arguments)
    for argument, claim in bindings.items():
        _set(filled, pointer_of(argument), claims[claim])
    return filled


def _set(within: dict[str, Any], way: tuple[str, ...], value: str) -> None:
    if len(way) == 1:
        within[way[0]] = value
        return
    inner = within.get(way[0])
    copy = dict(inner) if isinstance(inner, dict) else {}
    within[way[0]] = copy
    _set(copy, way[1:], value)
