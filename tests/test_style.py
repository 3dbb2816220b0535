"""The house style of docstrings and functions, each rule shown able to fail."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support import ROOT

WORDS = 12  # in the first line of a docstring
LINES = 40  # of a function, without its docstring
PARAMETERS = 6  # of a function, without `self`
# How a first line begins that has no verb first: with an article, a question, a plural or third person, "digest of".
NO_VERB = re.compile(
    r"(a|all|an|as|at|by|each|every|for|from|how|if|in|it|its|no|of|on|one|some|that|the|their|there|these|this|those"
    r"|to|two|what|whatever|when|where|whether|which|who|whoever|whose|why|with|\w+[^s\W]s|\w+ of)\b",
    re.IGNORECASE,
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef | ast.Module


def complaints(code: str) -> Iterator[str]:
    """List what breaks the rules in a text of Python, by the names of its functions and classes."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            first = docstring.splitlines()[0]
            if len(first.split()) > WORDS:
                yield f"{getattr(node, 'name', 'module')}: more than {WORDS} words: {first}"
            if isinstance(node, Function) and not is_property(node) and NO_VERB.match(first):
                yield f"{node.name}: no verb: {first}"
        if isinstance(node, Function):
            if n_lines(node) > LINES:
                yield f"{node.name}: {n_lines(node)} lines"
            if n_parameters(node) > PARAMETERS:
                yield f"{node.name}: {n_parameters(node)} parameters"


def is_property(node: Function) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def n_lines(node: Function) -> int:
    docstring = ast_lines(node.body[0]) if ast.get_docstring(node) else 0
    return ast_lines(node) - docstring


def ast_lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def n_parameters(node: Function) -> int:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in {"self", "cls"} for argument in every)


@pytest.mark.parametrize("package", ["flows", "tasks"])
def test_docstrings_and_functions_keep_the_house_style(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert [
        f"{file}: {complaint}" for file in files for complaint in complaints(file.read_text(encoding="utf-8"))
    ] == []


def function(docstring: str = "Read it.", parameters: str = "self", lines: int = 1) -> str:
    return f'def f({parameters}):\n    """{docstring}"""\n' + "    pass\n" * lines


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ('"""' + "word " * 13 + '"""', "module: more than 12 words"),
        ('class A:\n    """' + "word " * 13 + '"""', "A: more than 12 words"),
        (function("Read " + "word " * 12), "f: more than 12 words"),
        (function("The digest."), "f: no verb"),
        (function("Whether it is there."), "f: no verb"),
        (function("Returns the digest."), "f: no verb"),
        (function("Digest of a file."), "f: no verb"),
        (function(lines=40), "f: 41 lines"),
        (function(parameters="self, a, b, c, *, d, e, f, g"), "f: 7 parameters"),
    ],
)
def test_each_rule_of_the_style_can_fail(code: str, complaint: str) -> None:
    assert [found for found in complaints(code) if found.startswith(complaint)]


def test_what_keeps_the_rules_is_not_complained_of() -> None:
    code = (
        function("Process " + "word " * 11, parameters="self, a, b, c, *, d, e, f", lines=39)
        + '@property\ndef g():\n    """The digest."""\n'
    )
    assert list(complaints(code)) == []
