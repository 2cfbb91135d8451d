"""The agents file: what is accepted, what is refused and in which words, what it leads to."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.agent.agents import (
    MAX_BYTES,
    AgentsFileWrong,
    check_operations,
    parse_agents,
    read_agents,
)

TWO = """
agents:
  - name: support
    purpose: Everything else.
    hands_over_to: [returns]
  - name: returns
    purpose: Refunds and returns.
    operations: [createRefund, "GET /orders/{order_id}"]
    pinned: [createRefund]
"""


@dataclass(frozen=True)
class Listed:
    key: str
    tool_name: str


REFUND = Listed("POST /refunds", "createRefund")
ORDER = Listed("GET /orders/{order_id}", "getOrder")
TICKET = Listed("POST /tickets", "createTicket")


def refusal(text: str) -> str:
    with pytest.raises(AgentsFileWrong) as refused:
        parse_agents(text)
    return str(refused.value)


class TestWhatIsAccepted:
    def test_without_a_file_there_is_one_agent_that_owns_everything(self) -> None:
        agents = read_agents(None)

        assert list(agents.by_name) == [agents.first] == ["support"]
        assert agents.owner_of(TICKET, "tickets") == "support"

    def test_the_first_listed_is_first_unless_the_file_says_otherwise(self) -> None:
        assert parse_agents(TWO).first == "support"
        assert parse_agents(f"first: returns\n{TWO}").first == "returns"

    def test_the_version_is_that_of_the_text(self) -> None:
        once, again, changed = (parse_agents(text) for text in (TWO, TWO, TWO + "\n# a remark"))

        assert once.version == again.version != changed.version
        assert len(once.version) == 12

    @pytest.mark.parametrize(
        ("operation", "named", "owner"),
        [
            pytest.param(REFUND, "support", "returns", id="listed by tool name"),
            pytest.param(ORDER, "support", "returns", id="listed by key"),
            pytest.param(TICKET, "returns", "returns", id="named by its review"),
            pytest.param(TICKET, "billing", "support", id="named after nobody"),
        ],
    )
    def test_who_owns_an_operation(self, operation: Listed, named: str, owner: str) -> None:
        assert parse_agents(TWO).owner_of(operation, named) == owner

    def test_a_file_is_read_from_where_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "agents.yaml"
        path.write_text(TWO)

        assert read_agents(path) == parse_agents(TWO)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("", "names no agents", id="empty"),
            pytest.param("agents: []", "names no agents", id="none at all"),
            pytest.param("just words", "names no agents", id="no mapping"),
            pytest.param("agents: [", "not valid YAML in line", id="broken"),
            pytest.param("agents: [{name: a}]", "agents.0.purpose", id="no purpose"),
            pytest.param(
                "agents: [{name: A b, purpose: x}]", "agents.0.name", id="a name with a blank"
            ),
            pytest.param(
                "agents: [{name: a, purpose: x, colour: red}]", "agents.0.colour", id="unknown key"
            ),
            pytest.param(
                "agents: [{name: a, purpose: x}, {name: a, purpose: y}]",
                "agent a is described 2 times",
                id="duplicate names",
            ),
            pytest.param(
                "first: b\nagents: [{name: a, purpose: x}]", "there is no agent 'b'", id="first"
            ),
            pytest.param(
                "agents: [{name: a, purpose: x, hands_over_to: [b]}]",
                "hands over to 'b', which does not exist",
                id="unknown target",
            ),
            pytest.param(
                "agents: [{name: a, purpose: x, hands_over_to: [a]}]",
                "agent a hands over to itself",
                id="itself",
            ),
            pytest.param(
                "agents: [{name: a, purpose: x, operations: [o, o]}]",
                "'o' stands twice under operations",
                id="twice in one",
            ),
            pytest.param(
                "agents: [{name: a, purpose: x, operations: [o]},"
                " {name: b, purpose: y, operations: [o]}]",
                "'o' is owned by a and by b",
                id="two owners",
            ),
        ],
    )
    def test_each_fault_is_named(self, text: str, said: str) -> None:
        assert said in refusal(text)

    def test_a_circle_of_hand_overs_is_shown_as_a_path(self) -> None:
        text = """
        agents:
          - {name: a, purpose: x, hands_over_to: [b]}
          - {name: b, purpose: x, hands_over_to: [c]}
          - {name: c, purpose: x, hands_over_to: [a]}
        """

        assert "a → b → c → a" in refusal(text)

    def test_a_diamond_is_no_circle(self) -> None:
        agents = parse_agents("""
        agents:
          - {name: a, purpose: x, hands_over_to: [b, c]}
          - {name: b, purpose: x, hands_over_to: [d]}
          - {name: c, purpose: x, hands_over_to: [d]}
          - {name: d, purpose: x}
        """)

        assert agents.by_name["a"].hands_over_to == ("b", "c")

    def test_all_faults_are_told_at_once(self) -> None:
        said = refusal("first: z\nagents: [{name: a, purpose: x, hands_over_to: [a, q]}]")

        assert all(part in said for part in ("'z'", "itself", "'q'"))

    def test_a_file_that_is_not_there_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(AgentsFileWrong, match="SMART_SUPPORT_AGENTS_FILE"):
            read_agents(tmp_path / "missing.yaml")

    def test_a_file_that_is_too_large_or_no_text(self, tmp_path: Path) -> None:
        large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
        large.write_bytes(b"#" * (MAX_BYTES + 1))
        binary.write_bytes(b"\xff\xfe\x00")

        with pytest.raises(AgentsFileWrong, match="larger than"):
            read_agents(large)
        with pytest.raises(AgentsFileWrong, match="UTF-8"):
            read_agents(binary)

    @given(text=st.text(max_size=200))
    def test_any_text_is_agents_or_one_clear_refusal(self, text: str) -> None:
        try:
            agents = parse_agents(text)
        except AgentsFileWrong:
            return

        assert agents.first in agents.by_name


class TestAgainstWhatIsImported:
    def test_what_is_listed_must_be_imported(self) -> None:
        with pytest.raises(AgentsFileWrong) as refused:
            check_operations(parse_agents(TWO), [ORDER], [ORDER])

        assert "no imported document has the operation 'createRefund' (operations)" in str(
            refused.value
        )
        assert "(pinned)" in str(refused.value)

    def test_a_write_is_only_its_owners(self) -> None:
        agents = parse_agents("agents: [{name: a, purpose: x, uses: [createRefund]}]")

        with pytest.raises(AgentsFileWrong, match="only its owner may call it"):
            check_operations(agents, [REFUND], [])

    def test_what_fits_passes(self) -> None:
        check_operations(parse_agents(TWO), [ORDER, REFUND, TICKET], [ORDER])
