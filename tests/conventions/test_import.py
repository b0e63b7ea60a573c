"""Rule 1: importing vifx does nothing but define names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
import json, logging, pkgutil, sys, warnings
import absl.logging, flax.linen, flax.nnx, jax, numpyro, optax
{before}
config = dict(jax.config.values)
handlers = list(logging.getLogger().handlers)
filters = list(warnings.filters)
import vifx, vifx.experiment
for package in (vifx, vifx.data, vifx.training, vifx.experiment):
    assert all(hasattr(package, name) for name in package.__all__)
light = sorted({heavy} & set(sys.modules))
{after}
from jax._src import xla_bridge
loggers = [n for n, l in logging.Logger.manager.loggerDict.items()
           if n.split(".")[0] == "vifx" and getattr(l, "handlers", [])]
print(json.dumps({{
    "heavy": light,
    "backends": xla_bridge.backends_are_initialized(),
    "config": sorted(k for k, v in jax.config.values.items() if config.get(k) != v),
    "root_handlers": len(logging.getLogger().handlers) - len(handlers),
    "vifx_handlers": loggers,
    "filters": len(warnings.filters) - len(filters),
}}))
"""
HEAVY = {"tensorflow_datasets", "matplotlib", "orbax.checkpoint", "sklearn", "tyro"}
THIRD_PARTY = "import matplotlib.pyplot, orbax.checkpoint, PIL.Image, rich, sklearn, scipy.stats, tyro"
EVERY_MODULE = """
import importlib
for module in pkgutil.walk_packages(vifx.__path__, "vifx."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
CLEAN = {
    "heavy": [], "backends": False, "config": [], "root_handlers": 0, "vifx_handlers": [], "filters": 0,
}  # fmt: skip


def probe(before: str = "", after: str = "") -> dict:
    code = PROBE.format(before=before, after=after, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.thorough
def test_importing_vifx_does_no_work_and_loads_no_heavy_library():
    assert probe() == CLEAN


def test_importing_every_module_does_no_work():
    everything = probe(before=THIRD_PARTY, after=EVERY_MODULE)
    assert {k: v for k, v in everything.items() if k != "heavy"} == {k: v for k, v in CLEAN.items() if k != "heavy"}


LAZY = """
import pkgutil, sys
from importlib import import_module
import vifx
LAZY = ("core", "variational", "games", "em", "verification", "data", "training", "evaluation", "experiment")
LAZY += ("dynamics", "quantization")
assert not {"jax", "numpy"} & set(sys.modules)
assert {"kl", "factor", "data"} <= set(vifx.__all__) <= set(dir(vifx))
modules = [module.name for module in pkgutil.iter_modules(vifx.__path__, "vifx.")]
for part in LAZY:
    modules += [m.name for m in pkgutil.iter_modules([f"{vifx.__path__[0]}/{part}"], f"vifx.{part}.")]
first, names = sys.argv[1] == "modules", {}
for module in modules if first else ():
    import_module(module)
for package in ("vifx", *(f"vifx.{part}" for part in LAZY)):
    package = import_module(package)
    names |= {f"{package.__name__}.{name}": getattr(package, name) for name in package.__all__ if name != "__version__"}
for module in modules:
    import_module(module)
for name, value in names.items():
    package, _, own = name.rpartition(".")
    assert getattr(sys.modules[package], own) is value, name
    assert own in dir(sys.modules[package]), name
    if hasattr(value, "__qualname__") and value.__module__.startswith("vifx."):
        assert getattr(sys.modules[value.__module__], own) is value, name
for wrong in ("kll", "_hidden"):
    assert not hasattr(vifx, wrong)
print(len(names), sorted(name for name, value in names.items() if isinstance(value, type(sys))))
"""


@pytest.mark.first(1)
@pytest.mark.parametrize("first", ["modules", "names"])
def test_lazy_names_are_those_of_their_modules_in_either_order(first):
    """A function such as `factor` shares its name with its module, which Python binds when it imports that."""
    done = subprocess.run([sys.executable, "-c", LAZY, first], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    packages = ["data", "diffusion", "distributions", "divergences", "dynamics", "em", "evaluation", "flows", "games"]
    packages += ["lipschitz", "matching", "nets", "networks", "quantization", "training"]
    assert done.stdout.split(" ", 1)[1].strip() == str([f"vifx.{name}" for name in packages])


def imported(code: str, among: set[str]) -> set[str]:
    """Those of some modules that code imports in a process of its own."""
    code = f"import sys\n{code}\nprint(*{among} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_the_core_needs_no_nnx_until_it_meets_a_module_of_it():
    use = "import vifx\nfrom vifx import networks, training\nassert not vifx.nets.is_network(3)\nvifx.kl"
    none = "assert {'flax.nnx', 'flax.linen'} & set(sys.modules) == {'flax.linen'}"
    meet = "from flax import nnx\nassert vifx.nets.is_network(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))"
    assert imported("\n".join((use, none, meet)), {"flax.nnx"}) == {"flax.nnx"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["list"], ["trian"], ["list", "--bad"], ["sample", "x", "--bad"]]
)
def test_the_command_answers_without_jax(arguments):
    quiet = "contextlib.redirect_stderr(io.StringIO())"
    code = f"from vifx.cli import main\nimport contextlib, io\nwith {quiet}: main({arguments})"
    assert imported(code, {"jax", "flax", "scipy", "vifx.cli.command"}) == {"vifx.cli.command"}


CRIMES = """
jax.numpy.zeros(3)
jax.config.update("jax_enable_x64", True)
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("vifx.data").addHandler(logging.NullHandler())
warnings.simplefilter("ignore")
"""


@pytest.mark.thorough
def test_the_probe_sees_every_crime():
    seen = probe(before="import sklearn", after=CRIMES)
    assert [name for name, value in seen.items() if value == CLEAN[name]] == []
