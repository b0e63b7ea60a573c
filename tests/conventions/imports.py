"""The direction of imports: what each part of the package may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conventions.sources import Rule, Source, walk

JOINTS = (
    *("core.types", "core.examples", "core.module_mode", "core.nets", "core.turn", "distributions"),
    *("core.factor", "core.conditional", "core.joint", "core.support"),
)
CORE = (*JOINTS, "core.notation", "core.latex", "core.symbols", "core.objective", "core.explain", "divergences")

KNOWS: dict[str, tuple[str, ...]] = {
    "lazy": (),
    "files": (),
    "grey": (),
    "checks": ("core.types",),
    "loops": ("core.types",),
    "core": ("lazy",),
    "core.types": (),
    "core.examples": ("core.types",),
    "core.module_mode": (),
    "core.nets": ("core.types", "core.module_mode"),
    "core.notation": (),
    "core.latex": (),
    "core.factor": ("core.types", "core.turn", "core.nets", "core.notation", "distributions"),
    "core.conditional": ("core.types", "core.factor"),
    "core.joint": JOINTS,
    "core.support": ("core.types", "core.examples", "distributions", "core.factor", "core.conditional", "core.joint"),
    "core.turn": ("core.types",),
    "core.objective": ("core.types", "core.latex", "core.turn", "checks", "core.factor", "core.joint", "core.support"),
    "core.symbols": (),
    "core.explain": (*JOINTS, "core.latex", "core.objective", "core.symbols"),
    "distributions": ("core.types",),
    "networks": ("core.types", "loops", "core.nets", "distributions"),
    "lipschitz": ("core.types", "core.examples", "core.nets"),
    "dynamics": (*CORE, "lazy", "checks", "loops", "networks"),
    "flows": ("core.types", "checks", "loops", "core.nets", "distributions", "networks", "lipschitz", "dynamics"),
    "diffusion": ("core.types", "lazy", "checks", "loops", "core.nets", "distributions", "networks", "flows"),
    "matching": (
        *("lazy", "checks", "core.types", "core.examples", "core.conditional", "core.factor", "core.joint"),
        *("core.objective", "diffusion"),
    ),
    "divergences": ("core.types", "distributions"),
    "data": ("lazy", "core.types", "checks", "core.examples"),
    "training": (
        "lazy",
        "core.types",
        "checks",
        "files",
        "loops",
        "core.examples",
        "core.turn",
        "core.objective",
        "data",
    ),
    "verification": (*CORE, "lazy"),
    "variational": (*CORE, "lazy", "verification"),
    "games": (*CORE, "lazy", "verification", "variational"),
    "em": (*CORE, "lazy", "checks", "data", "variational", "training"),
    "quantization": (*CORE, "lazy", "checks", "variational", "training", "em"),
    "evaluation": (*CORE, "lazy", "files", "data", "networks", "dynamics", "flows", "variational", "training", "em"),
    "reading": (
        "lazy",
        "core.types",
        "checks",
        "loops",
        "core.nets",
        "core.joint",
        "data",
        "distributions",
        "networks",
        "evaluation",
    ),
}
DRAWS = {"vifx/em/fitted.py": "vifx.evaluation.fits"}
"""What a method that draws imports when it is called, and no other line does: the one way back."""
EVERYWHERE = ("checks", "grey")
"""What every part but the types may know: the checks of arguments, which import nothing themselves."""
SEES_ALL = ("", "experiment", "cli", "__main__")


def part(module: str) -> str:
    """`vifx.training.step` belongs to the part `training`, `vifx.core.joint` to `core.joint`, `vifx` itself to ""."""
    names = module.split(".")[1:]
    return ".".join(names[: 2 if names[:1] == ["core"] else 1])


def _imported(source: Source) -> Iterator[tuple[str, ast.AST]]:
    for node in walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "vifx":
            yield from ((f"vifx.{a.name}", node) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level) + (node.module or ""), node


def _own_part(path: str) -> str:
    return part(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def import_direction(source: Source) -> list[str]:
    """core → verification → variational → games and em; what else there is knows only what is listed."""
    own = _own_part(source.path)
    if own in SEES_ALL:
        return []
    if own not in KNOWS:
        return [source.at(1, f"{own} has no place in the direction of imports (tests/conventions/imports.py)")]
    found = []
    for module, node in _imported(source):
        if module.startswith("."):
            found.append(source.at(node, "import by absolute name"))
        elif DRAWS.get(source.path) == module and getattr(node, "col_offset", 0):
            continue
        elif (
            module.split(".")[0] == "vifx"
            and part(module) not in (own, *KNOWS[own], *(EVERYWHERE if own != "core.types" else ()))
            and not part(module).startswith(f"{own}.")
        ):
            found.append(source.at(node, f"{own} must not know {part(module) or 'the whole package'}"))
    return found


RULES = [
    Rule(
        7,
        import_direction,
        "vifx",
        (
            "# path: vifx/core/joint.py\nfrom vifx.variational.kl import kl",
            "# path: vifx/training/step.py\nimport vifx.games",
            "# path: vifx/core/types.py\nfrom vifx import nets",
            "# path: vifx/flows/glow.py\ndef f():\n    from vifx.core.joint import Joint",
            "# path: vifx/data/pipeline.py\nfrom . import catalogue",
            "# path: vifx/data/pipeline.py\nimport vifx",
            "# path: vifx/elsewhere.py\nimport jax",
        ),
        (
            "# path: vifx/core/joint.py\nfrom vifx.core.nets import as_net",
            "# path: vifx/training/step.py\nfrom vifx.training.state import start",
            "# path: vifx/cli/main.py\nimport vifx",
            "# path: vifx/__init__.py\nfrom vifx.games import vae",
        ),
    )
]
