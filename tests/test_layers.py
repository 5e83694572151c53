"""The packages import only from their left, and nothing hides an import inside a function."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = "core < algo < text < models < weights < data verify engine plan < train evals < recipes serve < cli"
RANK = {package: rank for rank, level in enumerate(ORDER.split(" < ")) for package in level.split()}
WIRES = {"recipes", "cli"}  # the only ones that may name the engine's classes; the rest take a `Generator`
SOURCE = Path(__file__).parents[1] / "src" / "ponder"


def imported_packages(code: str) -> Iterator[tuple[int, str]]:
    """Line and package of every import from ponder, wherever in the module it stands."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "ponder" else [base]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.split(".")[0] in ("ponder", ""):  # "": a relative import, which is refused as the package ""
                yield node.lineno, name.split(".")[1] if "." in name else ""


def offences(package: str, code: str) -> list[str]:
    found = []
    for line, target in imported_packages(code):
        leftward = RANK.get(target, len(RANK)) < RANK[package] or target in (package, "__version__")
        if not leftward or (target == "engine" and package not in WIRES | {"engine"}):
            found.append(f"line {line}: {package} imports {target or 'ponder or a relative name'}")
    return found


@pytest.mark.parametrize("package", RANK)
def test_imports_run_to_the_left(package: str) -> None:
    files = {path: path.read_text(encoding="utf-8") for path in (SOURCE / package).rglob("*.py")}
    assert [f"{path}, {offence}" for path, code in files.items() for offence in offences(package, code)] == []


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("storage", "accounts ledger limits local moderation upstream web_api wire"),
        ("ledger", "accounts limits local moderation upstream web_api wire"),
        ("accounts", "ledger limits local moderation upstream wire"),
    ],
)
def test_parts_of_the_server_do_not_know_of_each_other(part: str, others: str) -> None:
    """What they have to tell each other is put together in `site.py`."""
    code = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "serve" / part).rglob("*.py"))
    imported = set(re.findall(r"^from ponder\.serve\.(\w+)", code, re.MULTILINE))
    assert imported & set(others.split()) == set()


def test_every_package_has_its_place() -> None:
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(RANK)
    for path in SOURCE.glob("*.py"):
        targets = {target for _, target in imported_packages(path.read_text(encoding="utf-8"))}
        assert targets <= ({"cli"} if path.name == "__main__.py" else set()), path


@pytest.mark.parametrize(
    ("package", "code", "allowed"),
    [
        ("train", "from ponder.core.errors import RunError", True),
        ("train", "import ponder.data.chain", True),
        ("core", "from ponder import __version__", True),
        ("recipes", "from ponder.engine.reference import ReferenceGenerator", True),
        ("train", "from ponder.engine.reference import ReferenceGenerator", False),
        ("serve", "from ponder import engine", False),
        ("data", "from ponder.verify.checkers import check_exact", False),
        ("core", "def f():\n    from ponder.algo import losses", False),
        ("evals", "if TYPE_CHECKING:\n    import ponder.train.grpo as grpo", False),
        ("train", "from ..core import errors", False),
        ("train", "from . import batch", False),
        ("models", "from torch import nn", True),
    ],
)
def test_the_walk_sees_every_form_of_import(package: str, code: str, allowed: bool) -> None:
    assert (offences(package, code) == []) is allowed
