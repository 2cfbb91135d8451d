"""The agents of an installation: who there is, what each is for, and what each may do.

An agents file is YAML:

    first: support            # who answers when no other agent fits better; default: the first
    agents:
      - name: support
        purpose: General questions about an account or a product.
        instructions: Be brief.
        operations: [getCustomer]          # what it owns: tool names, or keys as `GET /account`
        uses: [getOrder]                   # reads of other agents that it may call too
        pinned: [getCustomer]              # always offered first
        hands_over_to: [returns]

An operation that no agent lists belongs to the agent that its review names, and else to the first.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smart_support.errors import Severity, SupportError
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access

MAX_BYTES = 256 * 1024

BUILT_IN = """\
agents:
  - name: support
    purpose: Every question that a customer may have.
    instructions: ""
"""
"""The agents of an installation without an agents file: one, which owns every operation."""


class AgentsFileWrong(SupportError):
    """The agents file cannot be used; the text names each fault and what to change."""

    code = "CONF_AGENTS_FILE"
    status = 422
    severity = Severity.HIGH
    user_message = "The agents file cannot be used."


class Owned(Protocol):
    """What is asked of an operation to find its owner."""

    @property
    def key(self) -> str: ...
    @property
    def tool_name(self) -> str: ...


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
_Operations = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=500)], ...], Field()]


class Agent(BaseModel):
    """One agent, as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    purpose: str = Field(min_length=1, max_length=1_000)
    instructions: str = Field("", max_length=20_000)
    operations: _Operations = ()
    uses: _Operations = ()
    pinned: _Operations = ()
    hands_over_to: tuple[_Name, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: str | None = None
    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class Agents:
    """All agents by name, who is first, and the version that turns record (12 hex digits)."""

    by_name: Mapping[str, Agent]
    first: str
    version: str

    def owner_of(self, operation: Owned, named: str) -> str:
        """The agent that owns `operation`, whose review names `named`."""
        for agent in self.by_name.values():
            if operation.tool_name in agent.operations or operation.key in agent.operations:
                return agent.name
        return named if named in self.by_name else self.first


def read_agents(path: Path | None) -> Agents:
    """The agents of the file at `path`, or the built-in one if there is no path.

    Raises:
        AgentsFileWrong: the file is missing, broken, or contradicts itself.
    """
    if path is None:
        return parse_agents(BUILT_IN)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AgentsFileWrong(
            f"The agents file {path} cannot be read ({error.strerror}). Put it there, or leave "
            "SMART_SUPPORT_AGENTS_FILE empty to have one agent that owns everything."
        ) from error
    if len(raw) > MAX_BYTES:
        raise AgentsFileWrong(f"The agents file {path} is larger than {MAX_BYTES} bytes.")
    try:
        return parse_agents(raw.decode())
    except UnicodeDecodeError as error:
        raise AgentsFileWrong(f"The agents file {path} is not UTF-8 text.") from error


def parse_agents(text: str) -> Agents:
    """The agents that `text` describes.

    Raises:
        AgentsFileWrong: naming every fault that was found.
    """
    try:
        data: Any = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise AgentsFileWrong(
            f"The agents file is not valid YAML{where}: {getattr(error, 'problem', error)}."
        ) from error
    if not isinstance(data, dict) or not data.get("agents"):
        raise AgentsFileWrong(
            "The agents file names no agents. It needs `agents:` with at least one of them, each "
            "with a `name` and a `purpose`."
        )
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        raise _wrong(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ) from None
    first = file.first or file.agents[0].name
    if faults := list(_faults(file.agents, first)):
        raise _wrong(faults)
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Agents({agent.name: agent for agent in file.agents}, first, version)


def check_operations(agents: Agents, known: Iterable[Owned], reads: Iterable[Owned]) -> None:
    """Hold what the agents list against the operations that are imported.

    Raises:
        AgentsFileWrong: an operation is listed that no document has, or a write under `uses`.
    """
    names = _names(known)
    readable = _names(reads)
    faults = [
        f"agent {agent.name}: no imported document has the operation {listed!r} ({where})"
        for agent in agents.by_name.values()
        for where in ("operations", "uses", "pinned")
        for listed in getattr(agent, where)
        if listed not in names
    ]
    faults += [
        f"agent {agent.name}: {listed!r} is a write; only its owner may call it (uses)"
        for agent in agents.by_name.values()
        for listed in agent.uses
        if listed in names and listed not in readable
    ]
    if faults:
        raise _wrong(faults)


class LiveAgents:
    """The agents that new turns work with; a file that is wrong never takes their place."""

    def __init__(self, path: Path | None, operations: PostgresOperations) -> None:
        """Read the file as it is, without a look at what is imported.

        Raises:
            AgentsFileWrong: the file is missing, broken, or contradicts itself.
        """
        self._path = path
        self._operations = operations
        self._agents = read_agents(path)

    def current(self) -> Agents:
        """The agents as they were loaded last."""
        return self._agents

    async def reload(self) -> Agents:
        """Read the file again and hold it against the imported operations.

        Raises:
            AgentsFileWrong: it cannot be used; the agents stay as they were.
        """
        agents = await asyncio.to_thread(read_agents, self._path)
        known = await self._operations.listed()
        check_operations(agents, known, [one for one in known if one.access is Access.READ])
        self._agents = agents
        return agents


def _names(operations: Iterable[Owned]) -> set[str]:
    return {name for operation in operations for name in (operation.key, operation.tool_name)}


def _wrong(faults: Iterable[str]) -> AgentsFileWrong:
    return AgentsFileWrong("The agents file cannot be used:\n  " + "\n  ".join(faults))


def _faults(agents: Sequence[Agent], first: str) -> Iterator[str]:
    names = [agent.name for agent in agents]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"agent {name} is described {names.count(name)} times; names must differ"
    if first not in names:
        yield f"first: there is no agent {first!r}"
    owners: dict[str, str] = {}
    for agent in agents:
        for listed in agent.operations:
            if owners.setdefault(listed, agent.name) != agent.name:
                yield f"{listed!r} is owned by {owners[listed]} and by {agent.name}; choose one"
        for where in ("operations", "uses", "pinned", "hands_over_to"):
            values: tuple[str, ...] = getattr(agent, where)
            for twice in sorted({value for value in values if values.count(value) > 1}):
                yield f"agent {agent.name}: {twice!r} stands twice under {where}"
        for target in agent.hands_over_to:
            if target == agent.name:
                yield f"agent {agent.name} hands over to itself"
            elif target not in names:
                yield f"agent {agent.name} hands over to {target!r}, which does not exist"
    if circle := _circle({agent.name: agent.hands_over_to for agent in agents}):
        yield (
            f"hand-overs go in a circle: {' → '.join(circle)}; take one of them out "
            "(every new message is routed anew, so none is needed to get back)"
        )


def _circle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """One path that comes back to its beginning, by depth-first search; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in edges.get(name, ()):
            if target != name and (found := walk(target, [*path, name])):
                return found
        done.add(name)
        return []

    for name in edges:
        if found := walk(name, []):
            return found
    return []
