"""Every example runs: docstrings, README and docs."""

import doctest
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = [
    "distrax_flows." + ".".join(path.relative_to(ROOT / "distrax_flows").with_suffix("").parts)
    for path in sorted((ROOT / "distrax_flows").rglob("*.py"))
]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if DOCS / "_build" not in page.parents),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Finder(doctest.DocTestFinder):
    """Finds decorated functions, too, whose globals are those of their decorator."""

    def _from_module(self, module, object):
        return getattr(object, "__module__", None) == module.__name__ or super()._from_module(
            module, object
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name.removesuffix(".__init__"))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for examples in Finder().find(module, module.__name__):
        runner.run(examples)
    assert runner.summarize(verbose=False).failed == 0


def test_examples_of_decorated_functions_are_found():
    module = importlib.import_module("distrax_flows.flows._coupling")
    found = {case.name: len(case.examples) for case in Finder().find(module, module.__name__)}
    assert found["distrax_flows.flows._coupling.realnvp"] == 4


@pytest.mark.slow
@each_page
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """The blocks of a page run in order, in one namespace, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    namespace: dict = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def prose(page):
    """The text of a page without its code."""
    return re.sub(r"^```\w+\n.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@each_page
def test_links_point_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", prose(page)):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@each_page
def test_images_have_a_description(page):
    """What a picture shows, for those who do not see it."""
    text = prose(page)
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
        assert len(alt) >= 15, f"{target} has the description {alt!r}"
    assert "<img" not in text
    for directive in re.findall(
        r"^[:`]{3,}\{(?:image|figure)\}.*\n((?::.*\n)*)", text, re.MULTILINE
    ):
        assert ":alt:" in directive
