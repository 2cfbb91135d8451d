from datetime import date

from smart_support.agent.agents import Agent
from smart_support.agent.prompts import HANDOFF, HANDOFF_REASONS, HANDOFF_TOOL, system_prompt

BILLING = Agent(name="billing", purpose="Refunds and payments", instructions="Be kind. {so}")


def test_names_the_customer_the_day_and_the_way_to_a_person() -> None:
    prompt = system_prompt("Ada {Quist}", date(2026, 3, 1), BILLING)

    assert "Ada {Quist}" in prompt
    assert "2026-03-01" in prompt
    assert HANDOFF in prompt
    assert "Refunds and payments" in prompt
    assert prompt.endswith("\nBe kind. {so}\n")


def test_says_what_unknown_and_declined_mean() -> None:
    prompt = system_prompt("Ada", date(2026, 3, 1), BILLING)

    assert '`"outcome":"unknown"`' in prompt
    assert '`"outcome":"declined"`' in prompt


def test_the_tool_for_a_person_takes_the_reasons_there_are() -> None:
    function = HANDOFF_TOOL["function"]
    assert isinstance(function, dict)

    assert function["name"] == HANDOFF
    assert function["parameters"]["properties"]["reason"]["enum"] == list(HANDOFF_REASONS)
    assert function["parameters"]["required"] == ["reason"]
