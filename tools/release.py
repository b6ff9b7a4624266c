"""Build a release and check it from a clean environment: `make release`. Nothing is published.

It needs a clean work tree, and packages from an index for the environment it makes.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
# Kept out of the sdist by pyproject.toml: only the repository's host runs them.
NOT_IN_SDIST = (".ci/", ".github/")
TESTS = ("tests/test_packaging.py", "tests/test_saving.py")


def main() -> None:
    """Run all steps, and print those that are left to people."""
    if git("status", "--porcelain"):
        sys.exit("The work tree must be clean: commit or remove what `git status` shows.")
    version = check_version()
    sdist, wheel = build(version)
    check_contents(sdist, wheel)
    with tempfile.TemporaryDirectory() as folder:
        check_in_clean_environment(sdist, wheel, Path(folder))
    if git("status", "--porcelain"):
        sys.exit("The build changed the work tree: see `git status`.")
    print(
        f"\n{sdist.name} and {wheel.name} in dist/ are ready. Left to people:\n"
        "- check that [project.urls] in pyproject.toml is where this repository lives;\n"
        f"- git tag -a v{version} -m 'distrax_flows {version}' && git push origin v{version}\n"
        "  The release workflow then builds again, and publishes once someone approves.\n"
        f"- or publish these two files by hand: {sys.executable} -m twine upload dist/*"
    )


def check_version() -> str:
    """Return the version, on which package, changelog, citation and tag must agree."""
    found = {
        "distrax_flows/__init__.py": search(r'^__version__ = "(.*)"$', "distrax_flows/__init__.py"),
        "CHANGELOG.md": search(r"^## (.*)$", "CHANGELOG.md"),
        "CITATION.cff": search(r"^version: (.*)$", "CITATION.cff"),
    }
    if len(set(found.values())) > 1:
        sys.exit(f"Versions must agree; got {found}.")
    version = found["CITATION.cff"]
    tagged = git("tag", "--list", f"v{version}")
    if tagged and tagged != git("tag", "--points-at", "HEAD", f"v{version}"):
        sys.exit(f"v{version} is the tag of another commit: raise the version.")
    return version


def build(version: str) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    stem = f"distrax_flows-{version}"
    return DIST / f"{stem}.tar.gz", DIST / f"{stem}-py3-none-any.whl"


def check_contents(sdist: Path, wheel: Path) -> None:
    """Check that both hold what git tracks, and nothing else."""
    tracked = set(git("ls-files").splitlines())
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    compare(sdist.name, packed, {path for path in tracked if not path.startswith(NOT_IN_SDIST)})
    with zipfile.ZipFile(wheel) as archive:
        packed = {re.sub(r"^[^/]*\.dist-info/", "", name) for name in archive.namelist()}
        page = archive.read(f"{wheel.stem.removesuffix('-py3-none-any')}.dist-info/METADATA")
    package = {path for path in tracked if path.startswith("distrax_flows/")}
    compare(wheel.name, packed, package | {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"})
    relative = re.findall(r"\]\((?!https?://|#)[^)]*\)", page.decode())
    if relative:
        sys.exit(f"Links of the readme must be absolute in the wheel; got {relative}.")


def compare(name: str, packed: set[str], expected: set[str]) -> None:
    """Compare the files of an archive with those expected."""
    if packed != expected:
        missing, surplus = sorted(expected - packed), sorted(packed - expected)
        sys.exit(f"{name} lacks {missing} and should not have {surplus}.")


def check_in_clean_environment(sdist: Path, wheel: Path, folder: Path) -> None:
    """Install the wheel alone and use it; then run tests of the unpacked sdist."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, wheel)
    run(python, "-m", "pip", "check")
    run(python, shutil.copy(ROOT / "tools" / "smoke.py", folder), cwd=folder)
    run(*install, "pytest", "pytest-xdist", "hypothesis", "beartype")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    run(python, "-m", "pytest", "--quiet", "--numprocesses=0", *TESTS, cwd=unpacked)


def search(pattern: str, path: str) -> str:
    """Return the first match in a file of the repository."""
    found = re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "none"


def git(*args: str) -> str:
    """Return what a git command prints."""
    command = ["git", *args]
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Show a command and run it; end with its exit status if it fails."""
    command = [str(part) for part in command]
    print("$", *command, flush=True)
    status = subprocess.run(command, cwd=cwd).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
