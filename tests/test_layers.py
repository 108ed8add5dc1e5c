"""Imports go one way: cli -> api -> workers -> service -> atomscatter; and none of them has side effects."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("atomscatter", "service", "workers", "api", "cli")  # from the bottom
FORBIDDEN = {
    "atomscatter": {"ray", "fastapi", "uvicorn", "zarr", "typer", "structlog"},
    "service": {"ray", "fastapi", "uvicorn", "typer"},
    "workers": {"fastapi", "uvicorn", "typer"},
    "api": {"ray", "typer"},
    "cli": {"ray", "fastapi"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """First parts of the names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_down_only(package: str) -> None:
    above = set(LAYERS[LAYERS.index(package) + 1 :])
    wrong = {
        str(file.relative_to(ROOT)): found
        for file in modules(package)
        if (found := set(imports(file)) & (above | FORBIDDEN[package]))
    }
    assert not wrong


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("package", LAYERS[:2])
def test_lower_layers_never_load_ray_or_a_web_server(package: str) -> None:
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in modules(package)]
    assert len(names) > 5
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        "print(sorted({'ray', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    assert run(code) == "[]"


def test_importing_the_library_is_light() -> None:
    code = (
        "import sys, atomscatter\n"
        "print(sorted({'ray', 'numba', 'matplotlib', 'pydantic_settings', 'zarr'} & set(sys.modules)))\n"
        "print(*(getattr(atomscatter, name).__name__ for name in atomscatter.__all__))"
    )
    assert run(code).splitlines() == ["[]", "Ensemble Prediction Scattering ScatteringCalculator"]


def test_importing_everything_starts_nothing() -> None:
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for p in LAYERS for f in modules(p)]
    code = (
        "import importlib, multiprocessing, threading\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "import ray\nprint(ray.is_initialized(), multiprocessing.active_children())"
    )
    assert run(code) == "False []"


def test_the_help_loads_nothing_heavy() -> None:
    heavy = {"ase", "numba", "numpy", "ray", "scipy", "zarr"}
    code = f"import sys, cli.app\nprint(sorted({heavy!r} & set(sys.modules)))"
    assert run(code) == "[]"


def test_tables_load_neither_kernels_nor_plots_before_they_are_needed() -> None:
    # Every command imports them for its tables.
    code = "import sys, service.tables\nprint(sorted({'matplotlib', 'numba', 'scipy'} & set(sys.modules)))"
    assert run(code) == "[]"


def test_unknown_names_of_the_library() -> None:
    import atomscatter

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = atomscatter.Nothing
