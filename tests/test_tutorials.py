"""Tutorials are well formed; building the site runs them."""

import ast
import pathlib
import re

import pytest

PAGES = sorted((pathlib.Path(__file__).parents[1] / "docs" / "tutorials").glob("[0-9]*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def cells(page):
    """Options and code of each cell."""
    found = re.findall(
        r"^```\{code-cell\} ipython3\n(---\n.*?^---\n|(?::[^\n]*\n)*)(.*?)^```",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    # Magics of IPython are no Python.
    return [(options, re.sub(r"^%.*", "", code, flags=re.MULTILINE)) for options, code in found]


def assigned(code):
    """Names that a cell assigns."""
    stored = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name))
    return {node.id for node in stored if isinstance(node.ctx, ast.Store)}


def test_there_are_tutorials():
    assert len(PAGES) >= 12


@each_page
def test_no_cell_is_overlooked(page):
    text = page.read_text()
    assert text.startswith("---\n")
    assert "file_format: mystnb" in text
    assert len(cells(page)) == text.count("```{code-cell}")


@each_page
def test_a_quick_build_changes_sizes_only(page):
    """The second cell is hidden, and lowers numbers that the first one shows."""
    (_, shown), (options, hidden) = cells(page)[:2]
    assert options == ":tags: [remove-cell]\n"
    assert 'if "DXF_DOCS_QUICK" in os.environ:' in hidden
    assert assigned(hidden) <= assigned(shown)
    assert assigned(hidden)


@each_page
def test_every_picture_has_a_description(page):
    for options, code in cells(page):
        draws = re.search(r"plt\.subplots|plotting\.panels|plotting\.corner", code) is not None
        described = re.search(r"alt:\s+(>-\s+)?\S.{20}", options) is not None
        assert draws == described, code


@each_page
def test_it_says_where_to_go_next(page):
    *_, last = page.read_text().partition("## Where to go next\n")
    assert "API: " in last
    assert "](" in last
