"""The plan of the rooms: a core without a principle of inference, one room a subject, who knows whom."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import PurePosixPath

from conventions.imports import KNOWS
from conventions.sources import ROOT, Rule, Source, sources, walk
from conventions.vocabulary import words

NEUTRAL = ("vifx/core/", "vifx/variational/")
PRINCIPLES = {
    "em",
    "posterior",
    "chain",
    "markov",
    "hmm",
    "mixture",
    "critic",
    "gan",
    "adversarial",
    "game",
    "emission",
}
SHARED = (
    ("distributions", "em/families"),  # a distribution and its family
    ("flows", "flows/bijections"),  # an assembly and its bijection
)


def no_principle(source: Source) -> list[str]:
    """Nothing in the core or among the variational estimators is named after EM, chains, critics or posteriors."""
    if not source.path.startswith(NEUTRAL):
        return []
    found = []
    for node in walk(source.tree):
        names = {
            ast.Name: "id",
            ast.Attribute: "attr",
            ast.arg: "arg",
            ast.keyword: "arg",
            ast.alias: "name",
            ast.FunctionDef: "name",
            ast.ClassDef: "name",
        }
        name = getattr(node, names[type(node)], None) if type(node) in names else None
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            name = node.value
        if name and PRINCIPLES & {word.removesuffix("s") for part in name.split(".") for word in words(part)}:
            found.append(
                source.at(node, f"{name} is of one principle of inference; ask a hook, or move it to its room")
            )
    return found


def clashes(paths: list[str]) -> list[str]:
    """File names that stand in two rooms for different things."""
    rooms = defaultdict(list)
    for path in paths:
        if not path.endswith("__init__.py"):
            rooms[PurePosixPath(path).name].append(PurePosixPath(path).parent.as_posix().removeprefix("vifx/"))
    return [
        f"{name}: {', '.join(found)}" for name, found in rooms.items() if len(found) > 1 and tuple(found) not in SHARED
    ]


def picture() -> str:
    """Who knows whom, as the layers of `vifx/`: each room knows those above it that its line names."""
    knows = {room: set(known) for room, known in KNOWS.items()}
    rooms = {room.partition(".")[0] for room in knows}
    direct = {
        room: {
            each.partition(".")[0] for own, known in knows.items() if own.partition(".")[0] == room for each in known
        }
        - {room, "lazy", "files", "grey", "loops", "checks"}
        for room in rooms - {"lazy", "files", "grey", "loops", "checks"}
    }
    # The core and the distributions know each other's types: they are one layer.
    height: dict[str, int] = {"core": 0, "distributions": 0}
    while len(height) < len(direct):
        for room, known in direct.items():
            if room not in height and known <= set(height):
                height[room] = 1 + max((height[each] for each in known), default=0)
    lines = []
    for level in range(max(height.values()) + 1):
        for room in sorted(room for room, at in height.items() if at == level):
            above = sorted(direct[room], key=lambda each: (-height[each], each))
            implied = {each for known in above for each in direct[known] if height[known] > height[each]}
            arrows = ", ".join(each for each in above if each not in implied)
            lines.append(f"{'  ' * level}{room}" + (f" → {arrows}" if arrows and level else ""))
    return "\n".join([*lines, "experiment, cli → everything"])


def picture_is_drawn() -> list[str]:
    """`docs/design.md` shows the picture that the rules of imports give."""
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    return [] if f"```text\n{picture()}\n```" in page else [f"docs/design.md must show\n\n{picture()}\n"]


def all_files() -> list[str]:
    """The path of every file of the package."""
    return [source.path for source in sources("vifx")]


RULES = [
    Rule(
        7,
        no_principle,
        "vifx",
        (
            "# path: vifx/core/factor.py\nkind = 'posterior'",
            "# path: vifx/variational/walk.py\nfrom vifx.distributions import MarkovChain",
            "# path: vifx/core/objective.py\ndef critics(): ...",
            "# path: vifx/variational/kl.py\nitem.posterior",
        ),
        (
            "# path: vifx/core/factor.py\nraise ValueError('write exact_posterior(...), or compare by a critic')",
            "# path: vifx/em/posterior.py\nclass Posterior: ...",
            "# path: vifx/core/joint.py\ndef chained(): ...",
        ),
    )
]
