"""Values of one type never travel by position: where two could be swapped and nobody would notice, they are named."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import ictc

PACKAGE = Path(ictc.__file__).parent
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}

PLAIN = {"str", "int", "float", "bool", "bytes", "Path", "Path | str"}

BY_POSITION = {
    "the source, then the target, as in shutil and os.link": {
        "runs/adoption.py": {"copy_file"},
        "steps/image_links.py": {"link_or_copy", "_replace", "_link", "hard_link", "_is_copy"},
    },
    "the width, then the height": {
        "dataset/decoding/fit.py": {"fit_to_tokens", "_ideal_grid", "_nearest_grid", "_iter_grids"},
    },
    "the folder, then what is in it, as in os.path.join": {"dataset/fetching/locations.py": {"join"}},
    "the year, the month and the day, as in datetime": {"dataset/catalog/times.py": {"_make_time"}},
    "the first, then the last, as in range": {"dataset/catalog/tar_shards.py": {"_expand_range"}},
    "the rows, then the columns, as in pandas.crosstab": {"analytics/ensemble.py": {"table"}},
    "the same either way round": {"records.py": {"add_counts"}, "secrecy.py": {"_num_common"}},
    "a method of the standard library's class": {"dataset/catalog/tar_index.py": {"frombuf"}},
}
"""Functions that take two values of one type by position, by the reason why nobody would swap them."""


def repeats_a_plain_type(annotations: Iterable[ast.expr | None]) -> bool:
    """Whether two are of one plain type; a type that may be None counts as that type."""
    names = (ast.unparse(one).removesuffix(" | None") for one in annotations if one is not None)
    return any(times > 1 for name, times in Counter(names).items() if name in PLAIN)


def iter_functions(source: str) -> Iterator[str]:
    """Yield the functions that take two values of one plain type by position."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args]
            if repeats_a_plain_type(argument.annotation for argument in arguments):
                yield node.name


def iter_dataclasses(source: str) -> Iterator[str]:
    """Yield the dataclasses that take two fields of one plain type by position."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            is_open = any("dataclass" in text and "kw_only=True" not in text for text in decorators)
            if is_open and repeats_a_plain_type(iter_positional(node)):
                yield node.name


def iter_positional(node: ast.ClassDef) -> Iterator[ast.expr]:
    """Yield the types of the fields that a dataclass takes by position."""
    for field in node.body:
        if isinstance(field, ast.AnnAssign):
            if ast.unparse(field.annotation).endswith("KW_ONLY"):
                return
            value = "" if field.value is None else ast.unparse(field.value)
            if "kw_only=True" not in value and "init=False" not in value:
                yield field.annotation


def test_no_dataclass_takes_two_fields_of_one_type_by_position() -> None:
    assert [(path, name) for path, source in SOURCES.items() for name in iter_dataclasses(source)] == []


def test_no_function_takes_two_values_of_one_type_by_position() -> None:
    excused = {(path, name) for files in BY_POSITION.values() for path, names in files.items() for name in names}
    assert {(path, name) for path, source in SOURCES.items() for name in iter_functions(source)} == excused


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("def f(a: int, b: int): ...", True),
        ("def f(a: int, b: int | None = None): ...", True),
        ("def f(a: int, /, b: int): ...", True),
        ("async def f(self, a: Path, x: object, b: Path): ...", True),
        ("def f(a: int, *, b: int): ...", False),
        ("def f(a: int, b: str): ...", False),
        ("@dataclass\nclass C:\n a: str\n b: str = ''", True),
        ("@dataclass(frozen=True)\nclass C:\n a: str\n x: object\n b: str | None", True),
        ("@dataclass(kw_only=True)\nclass C:\n a: str\n b: str", False),
        ("@dataclass\nclass C:\n a: str\n _: KW_ONLY\n b: str", False),
        ("@dataclass\nclass C:\n a: str\n b: str = field(kw_only=True)", False),
        ("@dataclass\nclass C:\n a: str\n b: str = field(init=False)", False),
        ("class C:\n a: str\n b: str", False),
    ],
)
def test_what_could_be_swapped_is_found(source: str, is_found: bool) -> None:
    assert bool([*iter_functions(source), *iter_dataclasses(source)]) == is_found
