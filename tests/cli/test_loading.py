"""Packages that are gathered when they are asked, and what is left out meanwhile."""

import builtins
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from smart_support.cli.loading import GATHERING, OPTIONAL, gather_when_asked, left_out


@pytest.fixture
def modules() -> Iterator[None]:
    """What a test has loaded, and how it has things loaded, ends with it."""
    loaded, finders, path = set(sys.modules), sys.meta_path[:], sys.path[:]
    yield
    sys.meta_path[:], sys.path[:] = finders, path
    for name in set(sys.modules) - loaded:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, modules: None) -> str:
    """A package that gathers two modules and notes that it did; it is not loaded yet."""
    folder = tmp_path / "gatherer"
    folder.mkdir()
    (folder / "one.py").write_text("from . import two\nFIRST = two.SECOND - 1\n")
    (folder / "two.py").write_text("SECOND = 2\n")
    (folder / "__init__.py").write_text(
        dedent(
            """
            import builtins
            builtins.gathered = getattr(builtins, "gathered", 0) + 1
            from .one import FIRST
            from .two import SECOND
            __all__ = ["FIRST", "SECOND"]
            """
        )
    )
    sys.path.insert(0, str(tmp_path))
    gather_when_asked(["gatherer"])
    return "gatherer"


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the package's own code has run."""
    monkeypatch.setattr(builtins, "gathered", 0, raising=False)
    return lambda: int(builtins.gathered)  # type: ignore[attr-defined]


def run(code: str) -> None:
    """Run statements as a module would."""
    exec(dedent(code), {})


class TestAPackageThatGathers:
    def test_loads_the_module_that_is_imported_alone(
        self, package: str, gathered: Callable[[], int]
    ) -> None:
        run("from gatherer.two import SECOND; assert SECOND == 2")

        assert "gatherer.one" not in sys.modules
        assert gathered() == 0

    def test_gives_a_module_that_is_asked_for_as_a_name(
        self, package: str, gathered: Callable[[], int]
    ) -> None:
        run("from gatherer import one; assert one.FIRST == 1")

        assert gathered() == 0

    @pytest.mark.parametrize(
        "code",
        [
            "from gatherer import FIRST, SECOND",
            "import gatherer; gatherer.SECOND; gatherer.FIRST",
            "from gatherer import *\nFIRST, SECOND",
            "from gatherer.one import FIRST; from gatherer import SECOND; import gatherer",
        ],
    )
    def test_gathers_once_for_whoever_asks_for_what_it_gathers(
        self, package: str, gathered: Callable[[], int], code: str
    ) -> None:
        run(code)
        run(code)

        assert gathered() == 1

    def test_has_no_more_than_it_had(self, package: str) -> None:
        with pytest.raises(ImportError):
            run("from gatherer import THIRD")
        with pytest.raises(AttributeError, match="THIRD"):
            run("import gatherer; gatherer.THIRD")

    def test_is_whole_for_each_of_several_threads(
        self, package: str, gathered: Callable[[], int]
    ) -> None:
        together = threading.Barrier(8)

        def ask() -> int:
            import gatherer  # type: ignore[import-not-found]

            together.wait(timeout=30)
            return int(gatherer.FIRST + gatherer.SECOND)

        with ThreadPoolExecutor(8) as threads:
            answers = [threads.submit(ask) for _ in range(8)]

        assert [each.result() for each in answers] == [3] * 8
        assert gathered() == 1

    def test_that_fails_says_so_each_time(self, package: str, tmp_path: Path) -> None:
        (tmp_path / "gatherer" / "two.py").write_text("raise RuntimeError('broken')\n")

        for _ in range(2):
            with pytest.raises(RuntimeError, match="broken"):
                run("import gatherer; gatherer.FIRST")

    def test_may_be_a_single_module(self, tmp_path: Path, modules: None) -> None:
        (tmp_path / "lonely.py").write_text("NAME = 1\n")
        sys.path.insert(0, str(tmp_path))
        gather_when_asked(["lonely"])

        run("import lonely; assert 'NAME' not in vars(lonely); assert lonely.NAME == 1")


NAMES = """
import importlib, json, sys
from types import ModuleType

from smart_support.cli.loading import gather_when_asked

packages = json.loads(sys.argv[1])
if sys.argv[2] == "when asked":
    gather_when_asked(packages)
    empty = [importlib.import_module(name) for name in packages]
    assert not any("__all__" in vars(module) for module in empty)

def told(value):
    if isinstance(value, ModuleType):
        return "module " + value.__name__
    return f"{type(value).__name__} {getattr(value, '__module__', '')}"

names = json.loads(sys.argv[3])
found = {}
for package in packages:
    module = importlib.import_module(package)
    wanted = names.get(package) or [name for name in dir(module) if not name.startswith("__")]
    found[package] = {name: told(getattr(module, name)) for name in wanted}
json.dump(found, sys.stdout)
"""


def names_of(how: str, names: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Package -> name -> what it stands for, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-c", NAMES, json.dumps(list(GATHERING)), how, json.dumps(names)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return dict(json.loads(told.stdout))


def test_every_name_of_the_libraries_packages_stands_for_what_it_stood_for() -> None:
    """A release of theirs in which a name hides a module would be seen here."""
    eager = names_of("as they come", {})
    asked = names_of("when asked", {package: list(names) for package, names in eager.items()})

    assert eager.keys() == GATHERING.keys()
    assert all(len(names) > 1 for names in eager.values())
    assert asked == eager


MODELS = """
import sys

from pydantic import BaseModel

from smart_support.cli.loading import built_when_used, gather_when_asked

gather_when_asked()
with built_when_used():
    import smart_support.cli.commands

class Later(BaseModel):
    number: int

def below(model):
    return [found for each in model.__subclasses__() for found in (each, *below(each))]

unused = {model for model in below(BaseModel) if not model.__pydantic_complete__}
assert len([model for model in unused if model.__module__.startswith("smart_support")]) > 100
assert Later.__pydantic_complete__  # what is declared afterwards is built as ever
for model in unused:
    assert model.model_rebuild(), model
"""


def test_each_model_that_is_not_built_yet_can_be() -> None:
    """And a release of pydantic that builds them all the same would be seen here."""
    subprocess.run([sys.executable, "-c", MODELS], check=True, timeout=120)


class TestLeftOut:
    def test_is_not_installed_inside_the_block_only(self, modules: None) -> None:
        sys.modules.pop("this", None)

        with left_out("this"), pytest.raises(ModuleNotFoundError):
            run("import this")

        assert "this" not in sys.modules

    def test_stays_if_it_is_loaded(self) -> None:
        with left_out("json"):
            run("import json; json.dumps")

        assert sys.modules["json"] is json

    def test_what_is_optional_is_installed_here(self) -> None:
        """Or a start that does without it shows nothing."""
        run("".join(f"import {name}\n" for name in OPTIONAL))
