"""The reference of the site, without building it: every public name, with every argument."""

import doctest
import importlib
import inspect
import pathlib
import re
import sys

import pytest

import distrax_flows as dxf

EXTENSIONS = pathlib.Path(__file__).parents[1] / "docs" / "_ext"
sys.path.append(str(EXTENSIONS))
markdown_docstrings = importlib.import_module("markdown_docstrings")
reference_pages = importlib.import_module("reference_pages")

# `Subject` has the arguments of `check_bijector`, and its methods are for laws.
DESCRIBED_ELSEWHERE = (*markdown_docstrings.MADE_ELSEWHERE, "distrax_flows.testing.Subject")


@pytest.fixture(scope="module")
def modules():
    """Public modules by name; they import other libraries, so not while tests are collected."""
    return {module.__name__: module for module in reference_pages.public_modules()}


@pytest.fixture(scope="module")
def names():
    """Public values by full name."""
    return {full: value for full, (_, value) in reference_pages.public_names().items()}


def documented(value):
    """The names of all arguments and attributes that a docstring describes."""
    found = {"Args": [], "Attributes": []}
    for section, content in markdown_docstrings.sections(inspect.getdoc(value) or ""):
        if section in found:
            for names, text in markdown_docstrings.entries(content):
                assert text
                found[section] += [name.lstrip("*") for name in names.split(", ")]
    return found


def arguments(value):
    parameters = inspect.signature(value).parameters
    return [name for name in parameters if name != "self"]


def test_every_public_module_and_name_has_its_entry(modules):
    text = "\n".join(reference_pages.pages().values())
    entries = set(re.findall(r"^\.\. \S+:: (\S+)$", text, re.MULTILINE))
    for module in (dxf, *modules.values()):
        assert {f"{module.__name__}.{name}" for name in module.__all__} <= entries | set(modules)
    for path in (EXTENSIONS.parents[1] / "distrax_flows/interfaces").iterdir():
        if not path.name.startswith("_"):
            assert f"distrax_flows.interfaces.{path.stem}" in modules


def test_docstrings_describe_every_argument(names):
    wrong = []
    for full, value in names.items():
        if reference_pages.is_constant(value) or full in DESCRIBED_ELSEWHERE:
            continue
        if getattr(value, "_is_protocol", False):
            value = value.__call__
        try:
            expected = arguments(value)
        except ValueError:  # of exceptions and TypedDicts
            continue
        found = documented(value)
        if expected not in (found["Args"], found["Attributes"]):
            wrong.append((full, expected, found))
    assert not wrong


def own_methods(value):
    """Methods of a class that no base class has."""
    for name, method in vars(value).items():
        inherited = any(hasattr(base, name) for base in value.__mro__[1:])
        is_method = inspect.isfunction(method) and method.__name__ == name
        if is_method and not name.startswith("_") and not inherited:
            yield name, method


def test_docstrings_of_methods_describe_every_argument(names):
    wrong = []
    for full, value in names.items():
        if inspect.isclass(value) and full != "distrax_flows.testing.Subject":
            for name, method in own_methods(value):
                by_name = (inspect.getdoc(method) or "").startswith("See `")
                if not by_name and documented(method)["Args"] != arguments(method):
                    wrong.append((full, name, arguments(method)))
    assert not wrong


def test_docstrings_become_markup(names, modules):
    for value in [*names.values(), *modules.values()]:
        doc = inspect.getdoc(value) or ""
        text = "\n".join(markdown_docstrings.to_rst(doc, value))
        assert "|-" not in text
        assert text.count(">>> ") == doc.count(">>> ")


def test_tables_of_docstrings_become_tables():
    text = markdown_docstrings.to_rst(inspect.getdoc(dxf.supports))
    assert ".. list-table::" in text
    assert "   * - ``interval``" in text
    assert "     - between two ends" in text


@pytest.mark.parametrize("module", [markdown_docstrings, reference_pages])
def test_examples_of_the_extensions(module):
    assert doctest.testmod(module).failed == 0
