"""Edits that leave the code as it was, and others."""

import io
import keyword
import random
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.repo.ast_diff import first_difference
from tests.support import ROOT
from tests.support.import_graph import STAGES, closure

FILES = {file for stage in STAGES for file in closure(ROOT / f"tasks/{stage}.py", ROOT)}
SOURCES = sorted(str(file.relative_to(ROOT)) for file in FILES if file.suffix == ".py" and file.stat().st_size)
SOURCE = '''\
"""A module."""

import os
import sys

LIMIT = 1


@cached
def first(a, b: int = 2, *, c="x"):
    """Say something."""
    total = a + b
    return f"{total:>4} {c}"


class Second(Base):
    """A class."""

    size = 3

    def third(self):
        def inner():
            return -0.0

        # why
        return inner() if self.size else b""


def fourth(): return 1_000 < 2
'''


def edited(*edits: tuple[str, str]) -> bytes:
    text = SOURCE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([("# why", "# because")], id="comment"),
        pytest.param([('"""A module."""\n', "")], id="docstring of the module"),
        pytest.param([("Say something", "Say another thing"), ("A class", "Classes")], id="docstrings"),
        pytest.param([("def fourth(): return", 'def fourth():\n  "Compare."\n  return')], id="docstring added"),
        pytest.param([("total = a + b", "total = (\n        a\n        + b\n    )")], id="layout"),
        pytest.param([('"x"', "'x'"), ("1_000", "1000"), ('b""', "b''")], id="spelling of constants"),
        pytest.param([('"x"', 'u"x"')], id="prefix u"),
        pytest.param([('"x"', '"" "x"')], id="a string in two parts"),
        pytest.param([("\n", "\r\n")], id="line ends"),
        pytest.param([("return -0.0", "return (-0.0);")], id="parentheses and a semicolon"),
        pytest.param([('"""A module."""', '# coding: latin-1\n"""A module."""')], id="encoding cookie, all in ASCII"),
        pytest.param([('"""A module."""', '\ufeff"""A module."""')], id="byte order mark"),
        pytest.param([('    """Say something."""\n', "")], id="docstring removed"),
    ],
)
def test_an_edit_that_changes_nothing_is_the_same_code(edits: list[tuple[str, str]]) -> None:
    assert edited(*edits) != SOURCE.encode()
    assert first_difference(SOURCE.encode(), edited(*edits)) == ""
    assert first_difference(edited(*edits), SOURCE.encode()) == ""


@pytest.mark.parametrize(
    ("old", "new", "what", "line"),
    [
        ("a + b", "a - b", "`total = a - b` in `first`", 12),
        ("b: int = 2", "b: int = 3", "`first`", 10),
        ("b: int", "b: float", "`first`", 10),
        ("b: int", "b", "`first`", 10),
        (", *, c", ", c", "`first`", 10),
        ("a, b: int = 2", "b: int, a = 2", "`first`", 10),
        ("@cached", "@cached()", "`first`", 10),
        ("@cached\n", "", "`first`", 9),
        ("{total:>4}", "{total:>5}", "`return f'{total:>5} {c}'` in `first`", 13),
        ("{total:>4}", "{total!r:>4}", "`return f'{total!r:>4} {c}'` in `first`", 13),
        ("total", "result", "`result = a + b` in `first`", 12),
        ("LIMIT = 1", "LIMIT = 1.0", "`LIMIT = 1.0`", 6),
        ("LIMIT = 1", "LIMIT = True", "`LIMIT = True`", 6),
        ("LIMIT = 1", "LIMIT: int = 1", "`LIMIT: int = 1`", 6),
        ("-0.0", "0.0", "`return 0.0` in `Second.third.inner`", 23),
        ('else b""', 'else ""', "`return inner() if self.size else ''` in `Second.third`", 26),
        ("Second(Base)", "Second", "`Second`", 16),
        ("size = 3", "size = 3j", "`size = 3j` in `Second`", 19),
        ("import os\nimport sys", "import sys\nimport os", "`import sys` has moved", 3),
        ("def fourth(): return 1_000 < 2\n", "", "`fourth` is gone", 26),
        ("    size = 3\n", "", "`size = 3` in `Second` is gone", 20),
        ("class Second", "def new(): pass\n\n\nclass Second", "`new` is new", 16),
        ("def fourth", "async def fourth", "`fourth`", 29),
        ("1_000 < 2", "(yield 1_000 < 2)", "`return (yield (1000 < 2))` in `fourth`", 29),
    ],
)
def test_an_edit_that_may_change_something_is_named_by_its_place(old: str, new: str, what: str, line: int) -> None:
    difference = first_difference(SOURCE.encode(), edited((old, new)))
    assert difference == f"{line}: {what if what.endswith(('new', 'gone', 'moved')) else f'{what} differs'}"


def test_functions_in_another_order_are_other_code() -> None:
    one, other = b"def a(): pass\n", b"def b(): pass\n"
    assert first_difference(one + other, other + one) == "1: `b` has moved"


def test_docstrings_count_where_the_module_says_doc() -> None:
    module = b'"""Run."""\ndef f():\n    """Say."""\nprint(__doc__)\n'
    assert first_difference(module, module.replace(b"Say", b"Tell")) == "3: `'Tell.'` in `f` differs"
    assert first_difference(module, module.replace(b"Run", b"Walk")) == "1: `'Walk.'` differs"
    assert not first_difference(module, module + b"# comment\n")
    assert first_difference(b"def f():\n    'a'\n", b"def f():\n    'b'\nf.__doc__\n")


def test_a_source_is_read_in_the_encoding_that_its_cookie_says() -> None:
    utf, latin = "# coding: utf-8\nname = 'é'\n", "# coding: latin-1\nname = 'é'\n"
    assert not first_difference(utf.encode(), latin.encode("latin-1"))
    assert first_difference(utf.encode(), latin.encode())  # now two characters


def test_the_last_string_of_a_body_may_be_its_docstring() -> None:
    assert not first_difference(b"def f():\n    'doc'\n", b"def f():\n    pass\n")
    assert not first_difference(b"", b"'doc'\n")
    assert first_difference(b"def f():\n    'doc'\n", b"def f():\n    f'doc'\n")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (b"a = 1\nif:\n", b"a = 1\nif: # why\n", 2),
        (b"<p>\n", b"<p>\n\n", 2),
        (b"a = 1\n", b"a = 1\n\0", 2),
        (b"# coding: none\na = 1\n", b"# coding: none\na = 1 \n", 2),
        (b"a = 1\n", b"a = " + b"(" * 300 + b"1" + b")" * 300, 1),
        (b"a = 0x1" + b"0" * 5000 + b"\n", b"a = 0x1" + b"0" * 5000 + b"\n# why\n", 2),
    ],
)
def test_what_python_cannot_read_is_compared_as_bytes(before: bytes, after: bytes, line: int) -> None:
    assert first_difference(before, after) == f"{line}: its text differs"
    assert not first_difference(after, after)


SIGNS = {"+": "-", "<": "<=", ">": ">=", "==": "!=", "|": "&"}


def token_edits(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and source of each edit of a name, number or sign."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        other = SIGNS.get(token.string, "")
        if token.type == tokenize.NUMBER:
            other = f"({token.string} + 1)"
        elif token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            other = f"{token.string}_"
        if other:
            (row, start), (_, end) = token.start, token.end
            line = lines[row - 1]
            yield row, "".join([*lines[: row - 1], line[:start], other, line[end:], *lines[row:]])


def test_random_edits_of_a_name_a_number_or_a_sign_are_other_code() -> None:
    draw = random.Random(0)
    for path in draw.sample(SOURCES, 40):
        source = (ROOT / path).read_text(encoding="utf-8")
        edits_of_source = list(token_edits(source))
        for line, after in draw.sample(edits_of_source, min(5, len(edits_of_source))):
            assert first_difference(source.encode(), after.encode()), f"{path}:{line}"


def test_each_source_is_the_same_code_in_another_format(tmp_path: Path) -> None:
    for path in SOURCES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    settings = '[format]\nquote-style = "single"\nskip-magic-trailing-comma = true\ndocstring-code-format = true\n'
    (tmp_path / "ruff.toml").write_text(f'line-length = 60\ntarget-version = "py311"\n{settings}')
    ruff = Path(sys.executable).parent / "ruff"
    subprocess.run([ruff, "format", "--quiet", "--no-cache", "."], cwd=tmp_path, check=True)
    changed = 0
    for path in SOURCES:
        before, after = (ROOT / path).read_bytes(), (tmp_path / path).read_bytes()
        changed += before != after
        assert not first_difference(before, after), path
    assert changed > 0.8 * len(SOURCES)
