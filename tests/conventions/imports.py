"""The direction of imports: what each part of the package may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conventions.sources import Rule, Source, walk

JOINTS = ("types", "examples", "nets", "distributions", "factor", "conditional", "joint", "support")
CORE = (*JOINTS, "divergences", "objective", "estimators", "explain")

KNOWS: dict[str, tuple[str, ...]] = {
    "lazy": (),
    "types": (),
    "checks": ("types",),
    "files": (),
    "loops": ("types",),
    "examples": ("types",),
    "nets": ("types",),
    "distributions": ("types",),
    "networks": ("types", "loops", "nets", "distributions"),
    "flows": ("types", "checks", "loops", "nets", "distributions", "networks", "lipschitz"),
    "lipschitz": ("types", "examples", "nets"),
    "families": ("types", "distributions"),
    "mixtures": (*CORE, "checks", "families", "training", "data"),
    "data": ("lazy", "types", "checks", "examples"),
    "factor": ("types", "nets", "distributions"),
    "conditional": ("types", "factor"),
    "joint": JOINTS,
    "divergences": ("types", "distributions"),
    "support": ("types", "examples", "distributions", "factor", "conditional", "joint"),
    "objective": ("types", "checks", "factor", "joint", "support", "divergences"),
    "estimators": (*JOINTS, "divergences", "objective"),
    "explain": (*JOINTS, "objective"),
    "methods": (*CORE, "flows", "lipschitz", "networks", "families", "mixtures"),
    "training": ("lazy", "types", "checks", "files", "loops", "examples", "objective", "data"),
    "evaluation": (*CORE, "checks", "files", "data"),
    "reading": ("lazy", "types", "checks", "loops", "nets", "data", "distributions", "networks", "evaluation"),
}
SEES_ALL = ("", "experiment", "cli", "__main__")


def part(module: str) -> str:
    """`vifx.training.step` belongs to the part `training`; `vifx` itself to "" ."""
    return ".".join(module.split(".")[1:2])


def _imported(source: Source) -> Iterator[tuple[str, ast.AST]]:
    for node in walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "vifx":
            yield from ((f"vifx.{a.name}", node) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level) + (node.module or ""), node


def _own_part(path: str) -> str:
    name = path.removeprefix("vifx/").split("/")[0].removesuffix(".py")
    return "" if name == "__init__" else name


def import_direction(source: Source) -> list[str]:
    """types → nets → factor → joint → divergences → objective → estimators → methods; the rest are leaves."""
    own = _own_part(source.path)
    if own in SEES_ALL:
        return []
    if own not in KNOWS:
        return [source.at(1, f"{own} has no place in the direction of imports (tests/conventions/imports.py)")]
    found = []
    for module, node in _imported(source):
        if module.startswith("."):
            found.append(source.at(node, "import by absolute name"))
        elif module.split(".")[0] == "vifx" and part(module) not in (own, *KNOWS[own]):
            found.append(source.at(node, f"{own} must not know {part(module) or 'the whole package'}"))
    return found


RULES = [
    Rule(
        7,
        import_direction,
        "vifx",
        (
            "# path: vifx/joint.py\nfrom vifx.estimators.explicit import kl",
            "# path: vifx/training/step.py\nimport vifx.methods",
            "# path: vifx/types.py\nfrom vifx import nets",
            "# path: vifx/flows/glow.py\ndef f():\n    from vifx.joint import Joint",
            "# path: vifx/data/pipeline.py\nfrom . import catalogue",
            "# path: vifx/data/pipeline.py\nimport vifx",
            "# path: vifx/elsewhere.py\nimport jax",
        ),
        (
            "# path: vifx/joint.py\nfrom vifx.nets import as_net",
            "# path: vifx/training/step.py\nfrom vifx.training.state import start",
            "# path: vifx/cli/main.py\nimport vifx",
            "# path: vifx/__init__.py\nfrom vifx.methods import vae",
        ),
    )
]
