"""Structure of the package: allowed imports, and the cost and needs of importing it."""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "distrax_flows"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# First match wins. __init__ files take the level of their folder; the top one sees everything.
LEVELS = [
    (r"__(init|main)__\.py", 9),
    (r"_core/", 0),
    (r"(networks|bijectors|densities)/|(families|supports)\.py", 1),
    (r"(modules|bases)/", 2),
    (r"(flows|functional)/", 3),
    (r"(training|diagnostics|testing)/|(saving|exporting)\.py", 4),
    (r"(interfaces|tables)/", 5),
]


def level_of(path: str) -> int:
    for pattern, level in LEVELS:
        if re.match(pattern, path):
            return level
    raise AssertionError(f"{path} has no level: add it to LEVELS")


def imports_of(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, `from a import b` counting as `a.b` and `a`."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_stay_at_or_below_their_level():
    for path in MODULES:
        for name in imports_of(path):
            if not name.startswith("distrax_flows."):
                continue
            target = "/".join(name.split(".")[1:])
            known = [p for p in MODULES if str(p) in (f"{target}.py", f"{target}/__init__.py")]
            for module in known:
                assert level_of(str(module)) <= level_of(str(path)), f"{path} imports {name}"


def test_no_internals_and_no_haiku_below_modules():
    for path in MODULES:
        for name in imports_of(path):
            assert "._src" not in name, path
            assert not name.startswith("tensorflow_probability.python"), path
            if name.startswith("tensorflow_probability"):
                assert name.startswith("tensorflow_probability.substrates"), path
            if level_of(str(path)) <= 1:
                assert name.split(".")[0] != "haiku", path


def test_no_name_shadows_its_module():
    for path in MODULES:
        if path.name != "__init__.py":
            continue
        folder = PACKAGE / path.parent
        modules = {p.stem for p in folder.glob("*.py")} | {p.name for p in folder.iterdir()}
        tree = ast.parse((PACKAGE / path).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                package = ".".join(("distrax_flows", *path.parent.parts))
                names = {alias.asname or alias.name for alias in node.names}
                assert node.module == package or not names & modules, (path, names & modules)


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_arrays_need_no_haiku():
    names = [
        "distrax_flows." + ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if level_of(str(path)) <= 1
    ]
    result = run_python(
        f"""
        import importlib, sys, types
        sys.modules["haiku"] = None
        package = types.ModuleType("distrax_flows")  # its __init__ imports everything
        package.__path__ = [{str(PACKAGE)!r}]
        sys.modules["distrax_flows"] = package
        for name in {names!r}:
            importlib.import_module(name)
        from distrax_flows.bijectors import Rotation
        import jax.numpy as jnp
        print(Rotation(0.0).forward(jnp.ones(2)))
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[1. 1.]\n"


def test_import_brings_nothing_heavy():
    result = run_python(
        """
        import sys, distrax_flows
        heavy = {"matplotlib", "sklearn", "tqdm", "tyro", "orbax", "pandas", "tensorflow", "arviz"}
        heavy |= {"numpyro", "blackjax", "polars"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    "failure",
    [
        "raise AttributeError('jax.interpreters.xla has no attribute pytype_aval_mappings')",
        "raise ImportError('cannot import name x')",
    ],
)
def test_a_broken_tfp_is_explained(tmp_path, failure):
    broken = tmp_path / "tensorflow_probability"
    broken.mkdir()
    (broken / "__init__.py").write_text(failure + "\n")
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import distrax_flows
        """
    )
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: `import distrax` failed.")
    assert (
        "pip uninstall -y tensorflow-probability tfp-nightly && pip install tfp-nightly" in message
    )


PUBLIC = ["", *["bases", "densities", "diagnostics", "families", "flows", "modules", "networks"]]
PUBLIC += ["supports", "testing", "training", "interfaces.arviz"]
PUBLIC += ["interfaces.blackjax", "interfaces.command_line", "interfaces.numpyro"]
PUBLIC += ["interfaces.sklearn", "tables"]


def test_every_public_name_is_documented_and_has_one_home():
    homes = {}
    for package in PUBLIC:
        module = importlib.import_module(f"distrax_flows.{package}".rstrip("."))
        for name in module.__all__:
            value = getattr(module, name)
            assert name == "Layer" or inspect.getdoc(value), f"{package}.{name}"
            homes.setdefault(id(value), []).append(f"{package}.{name}")
    assert {len(names) for names in homes.values()} == {1}, homes
