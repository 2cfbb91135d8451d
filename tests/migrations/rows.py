"""Rows for tables whose rules are too hard to guess: the table's name and an INSERT."""

ROWS: dict[str, str] = {}
