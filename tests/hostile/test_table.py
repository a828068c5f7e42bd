"""docs/hostile.md: every pain has a row, and every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "hostile.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+)+)`", TEXT)))


def definitions(path: Path) -> set[str]:
    """Names of the tests of a module, those of classes as Class::test."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        found |= {node.name} if isinstance(node, ast.FunctionDef) else set()
        if isinstance(node, ast.ClassDef):
            methods = (n.name for n in node.body if isinstance(n, ast.FunctionDef))
            found |= {f"{node.name}::{name}" for name in methods}
    return found


def test_every_pain_has_one_row_with_a_test_or_a_reason():
    rows = [line.split("|")[1:-1] for line in TEXT.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0]) for row in rows] == list(range(1, 53))
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)


def test_there_are_names_to_check():
    assert len(NAMED) > 60


@pytest.mark.parametrize("name", NAMED)
def test_named_tests_exist(name):
    module, _, test = name.partition("::")
    assert test in definitions(TESTS / module), f"docs/hostile.md names {name}"


def test_every_scenario_of_a_pain_is_in_the_table():
    for path in sorted((TESTS / "hostile").glob("test_pains.py")):
        for test in definitions(path):
            if re.match(r"test_pain_\d\d_", test):
                assert f"hostile/{path.name}::{test}`" in TEXT, test
                row = next(line for line in TEXT.splitlines() if test in line)
                assert int(row.split("|")[1]) == int(test[10:12])
