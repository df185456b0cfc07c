"""Rules of the code and its documents that no linter knows."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "sfjax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])
CORE = (
    *("csf", "foreign", "inference", "keys", "metrics", "models", "outputs", "passes"),
    *("phantoms", "pytree", "shifts", "softmax"),
    *(
        "training",
        "training.loop",
        "training.losses",
        "training.augment",
        "training.methods",
        "training.recipes",
        "training.sharding",
        "training.step",
    ),
)


def test_the_readmes_example_says_what_it_prints():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted >= 8 and result.failed == 0


def test_the_core_runs_with_jax_flax_optax_and_numpy_alone():
    program = f"""
import sys
class Blocked:
    allowed = ("jax", "jaxlib", "flax", "optax", "numpy", "jaxtyping", "scipy", "ml_dtypes", "opt_einsum", "sfjax")
    blocked = ("pandas", "sklearn", "PIL", "pyarrow", "altair", "orbax", "tyro", "rich", "openTSNE", "beartype", "chex")
    blocked += ("grain", "torch", "safetensors", "tensorboardX")
    def find_spec(self, name, path=None, target=None):
        # flax itself looks for orbax and rich: theirs is to do without, ours is not to ask.
        caller = sys._getframe(1)
        while "importlib" in caller.f_code.co_filename:
            caller = caller.f_back
        if name.split(".")[0] in self.blocked and "sfjax" in caller.f_globals.get("__name__", ""):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib
for module in {CORE!r}:
    importlib.import_module("sfjax." + module)
from sfjax.phantoms import generate
assert generate("lung_ct", seed=0, size=16, counts={{"train": 2}})[0].dtype == "uint8"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert "from __future__ import annotations" not in text  # shape checks need annotations at run time
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            names = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            assert not {"rng", "rng_key", "prng"} & set(names), f"{node.name}: random keys are called `key`"


def test_public_functions_are_documented():
    undocumented = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                undocumented.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not undocumented, undocumented
