"""The command as people run it, with nothing of this machine's settings in it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smart_support.settings import Settings

KEY = "a key of this test run that signs tokens"


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The environment of a command: what it needs of ours, and the lines that are given."""

    def made(**lines: Any) -> dict[str, str]:
        ours = {name.upper() for name in Settings.model_fields}
        rest = {name: value for name, value in os.environ.items() if name not in ours}
        data = {"SMART_SUPPORT_DATA_DIR": str(tmp_path / "data"), "SMART_SUPPORT_PORT": "0"}
        return rest | data | {name: str(value) for name, value in lines.items()}

    return made
