import re

from hypothesis import given
from hypothesis import strategies as st

from smart_support.operations.naming import keep_names, tool_names


class TestToolNames:
    def test_are_the_operation_ids_where_those_will_do(self) -> None:
        assert tool_names([("GET /a", "listOrders"), ("GET /b", "orders/list v2")]) == [
            "listOrders", "orders_list_v2",
        ]  # fmt: skip

    def test_come_from_method_and_path_without_an_id(self) -> None:
        assert tool_names([("GET /orders/{id}", None)]) == ["GET_orders_id"]

    def test_that_are_too_long_end_in_a_hash(self) -> None:
        first, second = tool_names([("GET /a", "x" * 70), ("GET /b", "x" * 71)])

        assert len(first) == len(second) == 64
        assert first[:57] == second[:57] == "x" * 57
        assert first != second

    def test_that_are_shared_all_end_in_a_hash_of_their_own_operation(self) -> None:
        both = tool_names([("GET /a", "get"), ("GET /b", "get")])

        assert both == list(reversed(tool_names([("GET /b", "get"), ("GET /a", "get")])))
        assert all(re.fullmatch("get_[0-9a-f]{6}", name) for name in both)

    def test_of_nothing_but_strange_letters_are_hashes(self) -> None:
        (name,) = tool_names([("GET /a", "注文")])

        assert re.fullmatch("[0-9a-f]{6}", name)

    def test_survive_an_id_that_looks_like_the_hash_of_another(self) -> None:
        hashed = tool_names([("GET /a", "get"), ("GET /b", "get")])[0]

        names = tool_names([("GET /a", "get"), ("GET /b", "get"), ("GET /c", hashed)])

        assert len(set(names)) == 3
        assert names[2] == hashed

    @given(
        st.dictionaries(
            st.text(min_size=1, max_size=80),
            st.none()
            | st.text(max_size=90)
            | st.sampled_from(["a", "A", "a_", "_a", "", "a" * 64]),
            max_size=12,
        )
    )
    def test_are_valid_and_unique_whatever_the_document_says(
        self, wishes: dict[str, str | None]
    ) -> None:
        names = tool_names(list(wishes.items()))

        assert len(set(names)) == len(wishes)
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
        assert dict(zip(reversed(wishes), reversed(names), strict=True)) == dict(
            zip(reversed(wishes), tool_names(list(reversed(wishes.items()))), strict=True)
        )


class TestKeptNames:
    def test_outlive_a_new_operation_that_wants_them(self) -> None:
        before = dict(zip(["GET /a"], tool_names([("GET /a", "list")]), strict=True))
        wishes = [("GET /a", "list"), ("GET /b", "list"), ("GET /c", "other")]
        after = dict(zip(["GET /a", "GET /b", "GET /c"], tool_names(wishes), strict=True))

        names = keep_names(after, before)

        assert names["GET /a"] == "list" != after["GET /a"]
        assert names["GET /b"] == after["GET /b"]
        assert names["GET /c"] == "other"

    @given(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["x", "y", "z", "x" * 64])),
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["x", "y", "w"])),
    )
    def test_are_valid_and_unique(self, wishes: dict[str, str], before: dict[str, str]) -> None:
        wanted = dict(zip(wishes, tool_names(list(wishes.items())), strict=True))
        known = dict(zip(before, tool_names(list(before.items())), strict=True))

        names = keep_names(wanted, known)

        assert names.keys() == wanted.keys()
        assert len(set(names.values())) == len(names)
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names.values())
        assert all(names[key] == known[key] for key in names if key in known)
