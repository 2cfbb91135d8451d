"""The demo company beside the product: what is said when it does not start."""

from pathlib import Path

import pytest

from smart_support.cli.company import demo_company
from smart_support.errors import SetupError


async def test_a_company_that_does_not_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("in place of its folder")

    with pytest.raises(SetupError, match="did not start"):
        async with demo_company(tmp_path):
            pass
