"""Who may import whom, read from the source: the picture in docs and CONTRIBUTING holds."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ARRAYS = {"torch", "torchvision", "timm", "numpy", "PIL"}
# What each package may import beside the standard library and itself.
MAY_IMPORT = {
    # SciPy for what torch has not: an exact assignment.
    "functional": ARRAYS | {"scipy"},
    "networks": ARRAYS | {"safetensors", "functional"},
    "datamodules": ARRAYS | {"lightning"},
    "metrics": ARRAYS | {"functional", "networks", "torchmetrics", "torch_fidelity", "safetensors"},
    "lightning_modules": ARRAYS
    | {"lightning", "safetensors", "functional", "networks", "datamodules.base"},
    "callbacks": ARRAYS
    | {"lightning", "wandb", "tqdm", "functional", "metrics"}
    | {"lightning_modules.base", "lightning_modules.generation"},
    "tasks": ARRAYS
    | {"tqdm", "functional", "datamodules", "lightning_modules.base"}
    | {"callbacks.pictures", "callbacks.run_record"},
    "comparison": ARRAYS | {"matplotlib", "wandb", "yaml", "metrics", "callbacks"},
    "page": ARRAYS
    | {"fastapi", "gradio", "starlette", "uvicorn", "functional", "tasks", "datamodules.decode"},
}
# Of lightning_modules, what is no method.
CONTRACT = {
    "__init__",
    "base",
    "chain_sampler",
    "denoised_images",
    "zero_shot_restoring",
    "feature_bank",
    "generation",
}
CONTRACT |= {"latent_generator", "masked_images", "optimisation", "pretrained", "stacked_images"}
CONTRACT |= {"zero_shot_restoring"}
METHODS = {path.stem for path in (ROOT / "lightning_modules").glob("*.py")} - CONTRACT
ROOT_FILES = sorted(ROOT.glob("*.py"))
OWN = {*MAY_IMPORT, *(path.stem for path in ROOT_FILES)}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere, also inside functions and for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            # "from a import b" may import the module a.b
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def allowed(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    names = MAY_IMPORT[package] | {package} | set(sys.stdlib_module_names)
    found = sources(package)
    assert found
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in found
        for module in imports(path)
        if not allowed(module, names)
    }
    assert not wrong


def test_nothing_but_the_configuration_names_a_method() -> None:
    assert {"ddpm", "classifier"} <= METHODS
    concrete = {f"lightning_modules.{method}" for method in METHODS}
    others = [path for path in sources(*MAY_IMPORT) if path.parent.name != "lightning_modules"]
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in [*others, *ROOT_FILES]
        for module in imports(path)
        if allowed(module, concrete)
    }
    assert not wrong


def test_every_method_is_named_by_a_configuration() -> None:
    named = {
        yaml.safe_load(path.read_text())["method"]["_target_"].split(".")[1]
        for path in (ROOT / "conf" / "method").glob("*.yaml")
    }
    assert named == METHODS


def test_no_package_imports_the_commands_or_the_glue() -> None:
    glue = {path.stem for path in ROOT_FILES}
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in sources(*MAY_IMPORT)
        for module in imports(path)
        if allowed(module, glue)
    }
    assert not wrong


def test_every_name_of_ours_resolves_to_this_repository() -> None:
    """``metrics``, ``config`` and the like are names that others install as well."""
    used = {
        module.split(".")[0] for path in sources(*MAY_IMPORT, "tests") for module in imports(path)
    }
    used |= {module.split(".")[0] for path in ROOT_FILES for module in imports(path)}
    assert used >= {*MAY_IMPORT, "config", "experiment", "run_folder"}
    for name in sorted(used & OWN):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        assert Path(spec.origin).resolve().is_relative_to(ROOT), f"{name} is {spec.origin}"


def test_every_name_of_ours_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for package in MAY_IMPORT:
        assert f'"{package}*"' in text
    for path in ROOT_FILES:
        assert f'"{path.stem}"' in text


def test_files_are_short_and_none_is_called_utils() -> None:
    everything = [*ROOT_FILES, *sources(*MAY_IMPORT, "tests", "benchmarks", "docs")]
    long = {str(p.relative_to(ROOT)) for p in everything if p.read_bytes().count(b"\n") >= 300}
    assert not long
    assert not [path for path in everything if "utils" in path.stem]


def test_nine_functions_in_ten_have_under_40_lines() -> None:
    lengths = [
        1 + (node.end_lineno or node.lineno) - node.lineno
        for path in [*ROOT_FILES, *sources(*MAY_IMPORT)]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(lengths) > 300
    assert sum(length < 40 for length in lengths) >= 0.9 * len(lengths)
    assert max(lengths) <= 75
