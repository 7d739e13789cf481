"""No message ends in nothing: what another's exception says is told with its type where it says nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vkdnw_search
from vkdnw_search import errors
from vkdnw_search.errors import VkdnwSearchError, named, told

PACKAGE = Path(vkdnw_search.__file__).parent
MAY_BE_EMPTY = {"Exception", "BaseException", "RuntimeError", "AssertionError", "NotImplementedError"}
"""Types that the code of others raises without a text; what is raised here on purpose has one."""


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_what_an_error_says_is_told_as_it_is() -> None:
    assert told(raised(ValueError("too small"))) == "too small"
    assert named(raised(ValueError("too small"))) == "ValueError: too small"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_error_that_says_nothing_is_told_by_its_type_and_line(text: str) -> None:
    error = raised(AssertionError(text) if text else AssertionError())
    assert told(error) == named(error)
    assert told(error).startswith("AssertionError in test_errors.py, line ") and told(error).endswith(": raise error")
    assert told(AssertionError()) == "AssertionError"


def handlers() -> Iterator[tuple[Path, ast.ExceptHandler]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        if file != Path(errors.__file__):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ExceptHandler) and node.name is not None and node.type is not None:
                    yield file, node


def interpolated(handler: ast.ExceptHandler) -> Iterator[ast.FormattedValue]:
    """Where the text of the exception goes into another as it is."""
    formatted = (node for node in ast.walk(handler) if isinstance(node, ast.FormattedValue))
    for node in formatted:
        by_itself = isinstance(node.value, ast.Name) and node.value.id == handler.name
        if by_itself and node.conversion != ord("r"):  # a repr says the type
            yield node


def test_the_text_of_an_exception_that_may_have_none_goes_into_no_message_as_it_is() -> None:
    found = []
    for file, handler in handlers():
        types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if {ast.unparse(kind) for kind in types if kind is not None} & MAY_BE_EMPTY:
            found += [f"{file.relative_to(PACKAGE)}:{node.lineno}" for node in interpolated(handler)]
    assert not found, "use vkdnw_search.errors.told or named"


def test_every_error_of_the_project_is_one_that_a_caller_can_catch_at_once() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, VkdnwSearchError) for kind in kinds)
