"""The agents of this installation: who there is, what each may call, and loading them anew."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from smart_support.agent.agents import Agents
from smart_support.agent.work import share_out
from smart_support.api.access import Operator, Staff
from smart_support.api.parts import Parts, Running
from smart_support.operations.records import CLAIMS
from smart_support.tools.build import build_tools

router = APIRouter(prefix="/api/agents", tags=["agents"])


class AgentSummary(BaseModel):
    """One agent and the approved operations that it may call."""

    name: str
    purpose: str
    tools: list[str] = Field(description="Names of its tools, the pinned ones first.")
    hands_over_to: list[str]


class AgentList(BaseModel):
    """All agents, as new turns find them."""

    version: str = Field(description="Changes with the file; every turn records it.")
    first: str = Field(description="Who answers when no other fits better.")
    agents: list[AgentSummary]


@router.get("", summary="List agents")
async def list_agents(person: Staff, parts: Running) -> AgentList:  # noqa: ARG001 - names who may
    """Each with the tools that a customer of whom everything is known is offered."""
    return await _listed(parts, parts.agents.current())


@router.post("/reload", summary="Load the agents file anew")
async def reload_agents(person: Operator, parts: Running) -> AgentList:  # noqa: ARG001
    """New turns work with it; a wrong file is refused with its faults, and nothing changes."""
    return await _listed(parts, await parts.agents.reload())


async def _listed(parts: Parts, agents: Agents) -> AgentList:
    offered = build_tools(await parts.operations.approved(), dict.fromkeys(CLAIMS, ""))
    tools = share_out(offered, agents)
    return AgentList(
        version=agents.version,
        first=agents.first,
        agents=[
            AgentSummary(
                name=agent.name,
                purpose=agent.purpose,
                tools=list(tools[agent.name]),
                hands_over_to=list(agent.hands_over_to),
            )
            for agent in agents.by_name.values()
        ],
    )
