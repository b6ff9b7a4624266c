"""Packaging: bounds of versions, extras, files of the sdist, and continuous integration."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# Extras that the wheel alone can use; the others are for work on the repository.
FOR_USERS = re.fullmatch(r"distrax_flows\[(.*)\]", *EXTRAS["all"])[1].split(",")


def pins(name):
    """Versions by package in a file of constraints, which holds nothing else."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith("#"):
            package, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
            found[normal(package)] = version
    return found


def normal(package):
    return re.sub(r"[-_.]+", "-", package).lower()


def release(version):
    """`0.10` and `0.10.0` are the same."""
    return re.sub(r"(\.0)+$", "", version)


def test_the_lowest_versions_tried_are_those_allowed():
    project = PYPROJECT["project"]
    needed = [*project["dependencies"]]
    for extra in (*FOR_USERS, "experiments", "test"):
        needed += EXTRAS[extra]
    lowest, newest = pins("constraints-lowest.txt"), pins("constraints.txt")
    for requirement in needed:
        if not requirement.startswith("distrax_flows["):
            package, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
            assert release(lowest[normal(package)]) == release(version), package
            assert normal(package) in newest, package


def test_the_site_is_built_by_pinned_versions():
    newest = pins("constraints.txt")
    for requirement in PYPROJECT["project"]["optional-dependencies"]["docs"]:
        if not requirement.startswith("distrax_flows["):
            package, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
            as_numbers = [[int(n) for n in v.split(".")] for v in (lowest, newest[normal(package)])]
            assert as_numbers[0] <= as_numbers[1], package


def git(*args):
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is tracked, git knows")
def test_the_sdist_leaves_out_nothing_but_continuous_integration():
    """Docs link to figures and tests follow the links: both have to work from an sdist."""
    excluded = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"]
    assert all(re.fullmatch(r"/[\w./]+", pattern) for pattern in excluded)  # whole folders
    tracked = git("ls-files")
    assert any(path.startswith("figures/") for path in tracked)
    left_out = {path for path in tracked if path.startswith(tuple(p[1:] + "/" for p in excluded))}
    assert left_out == {path for path in tracked if path.startswith((".ci/", ".github/"))}
    # The build leaves out what git is told to ignore, tracked or not.
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard") == []


def test_messages_name_extras_of_the_wheel():
    """A user of the wheel has no experiments: no message of the library may send them there."""
    for path in (ROOT / "distrax_flows").rglob("*.py"):
        for names in re.findall(r"distrax_flows\[([\w,]+)\]", path.read_text()):
            assert set(names.split(",")) <= set(FOR_USERS), path
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "installation.md").read_text(), re.M)
    assert sorted(listed) == sorted((*FOR_USERS, "all"))


def test_the_project_lives_in_one_place():
    urls = PYPROJECT["project"]["urls"]
    assert all(url.startswith(urls["Source"]) for url in urls.values())
    assert f"repository-code: {urls['Source']}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="an sdist has no workflows")
def test_both_kinds_of_continuous_integration_do_the_same():
    """Both run the same targets of the Makefile, on the versions of Python that we name."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    targets = re.search(r"target: \[(.*)\]", workflow)[1].split(", ")
    commands = re.findall(r"^make (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert [word for word in " ".join(commands).split() if not word.startswith("-")] == targets
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PYPROJECT["project"]["classifiers"]))
    for pythons in re.findall(r"python: \[(.*)\]", workflow):
        assert re.findall(r"[\d.]+", pythons) == named
