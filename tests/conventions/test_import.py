"""Rule 1: importing vifx does nothing but define names."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, logging, pkgutil, sys, warnings
import absl.logging, flax.linen, flax.nnx, jax, numpyro, optax
{before}
config = dict(jax.config.values)
handlers = list(logging.getLogger().handlers)
filters = list(warnings.filters)
import vifx
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


def test_importing_vifx_does_no_work_and_loads_no_heavy_library():
    assert probe() == CLEAN


def test_importing_every_module_does_no_work():
    everything = probe(before=THIRD_PARTY, after=EVERY_MODULE)
    assert {k: v for k, v in everything.items() if k != "heavy"} == {k: v for k, v in CLEAN.items() if k != "heavy"}


CRIMES = """
jax.numpy.zeros(3)
jax.config.update("jax_enable_x64", True)
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("vifx.data").addHandler(logging.NullHandler())
warnings.simplefilter("ignore")
"""


def test_the_probe_sees_every_crime():
    seen = probe(before="import sklearn", after=CRIMES)
    assert [name for name, value in seen.items() if value == CLEAN[name]] == []
