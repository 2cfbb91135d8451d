"""The catalogue of errors as a page to read and as JSON, made from the classes themselves."""

import importlib
import json
import pkgutil
from collections.abc import Iterator, Sequence
from itertools import groupby

import smart_support
from smart_support.errors import Family, SupportError, catalogued

_HEAD = """\
# Errors

Every error of the product, by its code. Made from the classes by `smart-support errors`.

A code is the same over REST (`code` of the problem document), on the socket (`code` of an `error`
frame or a `RUN_ERROR`), in the log, in the metric `smart_support_errors_total` and on the
dashboard. The correlation id that comes with it finds the log line.

* **severity**: LOW is logged as info, MEDIUM as warning, HIGH as error, CRITICAL as critical;
  CRITICAL alerts at once.
* **HTTP**: the status over REST. **close**: with what a socket is closed if the error ends it.
* **retry**: how a program should try again. `none`: the same fails again; `backoff`: later and
  later; `after_time`: once, a while later; `rate_limit`: when `retry_after` says.
* **page**: what the page does. `tell` shows the words, `retry` offers to send again, `wait` counts
  down, `reconnect` connects anew, `sign_in` leads there, `hand_off` offers a person.

Exceptions of other libraries become these where they enter: SQLAlchemy and asyncpg in
`database/errors.py`, psycopg in `agent/checkpoint_store.py`, httpx in
`resilience/upstream_errors.py`, openai in `agent/model_errors.py`, LangGraph in
`agent/graph_errors.py`, pydantic in `api/problems.py`, `api/chat_socket.py` and `settings.py`. What
nobody foresaw is `SYS_INTERNAL`.
"""

_TITLES = {
    Family.CONN: "connection and socket",
    Family.CONV: "conversation and turn",
    Family.MODEL: "language model",
    Family.TOOL: "tool calls",
    Family.API: "the company's APIs",
    Family.VAL: "input",
    Family.AUTH: "signing in and roles",
    Family.DB: "database",
    Family.FILE: "documents and disk",
    Family.CONF: "configuration",
    Family.REC: "recovery",
    Family.RATE: "limits",
    Family.SYS: "the product itself",
}


def all_errors() -> Sequence[type[SupportError]]:
    """Every class of error, wherever it lives, in the order of the codes."""
    for module in pkgutil.walk_packages(smart_support.__path__, "smart_support."):
        if "__main__" not in module.name and ".demo" not in module.name:
            importlib.import_module(module.name)
    return tuple(catalogued())


def errors_page() -> str:
    """`docs/errors.md`, whole."""
    return _HEAD + "".join(_families(all_errors()))


def actions_json() -> str:
    """What a page does about each code: `frontend/src/api/errors.gen.json`, whole."""
    actions = {kind.code: kind.action.value for kind in all_errors()}
    return json.dumps(actions, indent=2, sort_keys=True) + "\n"


def _families(kinds: Sequence[type[SupportError]]) -> Iterator[str]:
    of_family = groupby(kinds, lambda kind: Family.of(kind.code))
    for family, members in of_family:
        yield f"\n## {family.value}: {_TITLES[family]}\n"
        for code, same in groupby(members, lambda kind: kind.code):
            yield from _entry(code, list(same))


def _entry(code: str, kinds: Sequence[type[SupportError]]) -> Iterator[str]:
    kind = kinds[0]
    yield f"\n### {code}\n\n"
    yield "\n".join(_meaning(each) for each in kinds) + "\n\n"
    yield (
        f"{kind.severity.name} · {kind.category.value} · HTTP {kind.status} · "
        f"close {kind.close_code} · retry {kind.retry.value} · page {kind.action.value}\n\n"
    )
    yield f"* Says: “{kind.user_message}”\n"
    yield f"* Operator: {kind.operator_hint()}\n"


def _meaning(kind: type[SupportError]) -> str:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return f"`{kind.__name__}`: {text}"
