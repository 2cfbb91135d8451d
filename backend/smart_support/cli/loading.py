"""What libraries load for nothing, left out of a process (docs/decisions/0023).

Some packages gather all that they have in their `__init__`: whoever imports one module of them gets
several hundred. Here such a package is there at once, and empty; its modules are loaded one by one
as they are imported, and all that it gathers when it is first asked for a name that is no module.
Whoever asks gets what they always got. Some import what they can do without, as they say
themselves, whenever it is installed; it is not, for as long as we load. And what pydantic builds
for a model, it builds for those that are used.
"""

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from threading import RLock
from types import ModuleType
from typing import Any

GATHERING = {
    "langchain_openai": 2.0,  # embeddings, completions without chat
    "langchain_openai.chat_models": 0.1,  # Azure
    "langgraph_sdk": 2.2,  # a client of LangGraph's own server
    "langsmith.types": 5.0,  # what LangSmith's API answers
    "limits.aio": 0.5,  # counts of calls that are kept elsewhere
    "openai.types": 2.5,  # what OpenAI's other APIs take and answer
    "openai.types.responses": 7.0,
    "sqlalchemy.dialects.postgresql.pg_catalog": 0.5,  # for looking at schemas
    "sqlalchemy.ext.asyncio": 6.0,  # sessions, and with them the ORM
    "tiktoken": 1.2,  # counting tokens beforehand
}
"""Packages of which a server needs a few modules, and a module of which it needs nothing; MiB that
it then goes without."""

OPTIONAL = {
    "charset_normalizer": 2.9,  # with it `requests` guesses encodings, for LangSmith
    "opentelemetry.sdk": 0.6,  # of LangSmith's traces; ours are configured later
    "pygments": 0.5,  # colours for httpx's own command
    "rich": 3.7,  # tracebacks of structlog, which ours are not
}
"""What is imported wherever it is installed, and used by nothing of ours; MiB."""


def gather_when_asked(packages: Iterable[str] = GATHERING) -> None:
    """From now on load these packages as it says above. Those that are loaded stay as they are."""
    sys.meta_path.insert(0, _Finder(frozenset(packages)))


@contextlib.contextmanager
def left_out(*modules: str) -> Iterator[None]:
    """Inside the block these are not installed, for those who would import them.

    Those that are loaded already stay.
    """
    absent = [name for name in modules if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # so Python is told that there is none
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def built_when_used() -> Iterator[None]:
    """Have pydantic build what a model validates with when the model is first used.

    It is pydantic's own `defer_build`, here for each model that is declared inside the block,
    whoever declares it: of some five hundred a server uses a third, 6 MiB.
    """
    from pydantic import BaseModel
    from pydantic.warnings import UnsupportedFieldAttributeWarning

    # FastAPI ignores it where it declares what a route takes; that is built later now.
    warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


class _Finder(MetaPathFinder):
    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _WhenAsked(fullname, spec.loader.path)
        return spec


class _WhenAsked(SourceFileLoader):
    """Runs a package's own code when the package is asked for a name that it does not have yet."""

    def exec_module(self, module: ModuleType) -> None:
        lock, runs = RLock(), False

        def ask(name: str) -> Any:
            nonlocal runs
            whole, inside = f"{module.__name__}.{name}", module.__dict__.get("__path__")
            if inside and (whole in sys.modules or PathFinder.find_spec(whole, inside)):
                return importlib.import_module(whole)  # `from package import module`
            with lock:
                if runs:  # the package's own code asks, which has not come to that name
                    raise AttributeError(f"{module.__name__} has no {name!r} yet")
                if module.__dict__.get("__getattr__") is ask:  # else another thread was first
                    runs = True
                    try:
                        super(_WhenAsked, self).exec_module(module)
                    finally:
                        runs = False
                    if module.__dict__["__getattr__"] is ask:  # it has none of its own
                        del module.__dict__["__getattr__"]
            return getattr(module, name)

        module.__dict__["__getattr__"] = ask
