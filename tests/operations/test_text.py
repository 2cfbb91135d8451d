import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.operations.text import clean


class TestClean:
    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("plain", "plain"),
            ("  two\r\nlines\rand\ta tab ", "two\nlines\nand\ta tab"),
            ("zero\u200bwidth\u2060 \u202ebidi\u202c", "zerowidth bidi"),
            ("tag\U000e0041\U000e0042s and \ufe0fselectors\U000e0100", "tags and selectors"),
            ("bell\x07 nul\x00 csi\x9b", "bell nul csi"),
            ("Größe 注文 עברית ✓", "Größe 注文 עברית ✓"),
        ],
    )
    def test_keeps_what_can_be_seen(self, text: str, kept: str) -> None:
        assert clean(text) == kept

    def test_leaves_no_code_point_that_is_invisible(self) -> None:
        forbidden = {"Cc", "Cf", "Cs", "Co"}
        hidden = [
            chr(code)
            for code in range(sys.maxunicode + 1)
            if unicodedata.category(chr(code)) in forbidden and chr(code) not in "\t\n\r"
        ]

        assert clean("".join(hidden[:4000]), 100_000) == ""
        assert clean("".join(hidden[4000:]), 1_000_000) == ""

    @pytest.mark.parametrize(
        ("value", "text"), [(1.0, "1.0"), (3, "3"), (None, ""), (True, ""), ({}, "")]
    )
    def test_reads_numbers_as_text_and_nothing_else(self, value: object, text: str) -> None:
        assert clean(value) == text

    def test_says_where_it_was_cut(self) -> None:
        assert clean("abc def", 5) == "abc…"
        assert clean("abcde", 5) == "abcde"

    @given(st.text(max_size=60), st.integers(1, 30))
    def test_is_short_and_has_nothing_left_to_clean(self, text: str, limit: int) -> None:
        once = clean(text, limit)

        assert len(once) <= limit
        assert clean(once, limit) == once
