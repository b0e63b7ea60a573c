"""Rules 2, 4 and 12: experiments declare, methods assemble and are reduced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from conventions.sources import ROOT, Function, Rule, Source, calls, dotted, functions, walk

HEADER = ("Source", "Command", "Hardware", "Metric")
PLACEHOLDER = re.compile(r"\b(?!MNIST\b)[A-Z]{5,}\b")
GRADIENTS = {"grad", "value_and_grad", "vjp", "jvp", "apply_updates"}
STEPS = ("step", "solve", "descend", "optimize", "several", "repeat", "in_turn")
LOOPS = {"scan", "fori_loop", "while_loop"}
LOSSES = {
    "log_prob",
    "kl_divergence",
    "log_softmax",
    "log_sigmoid",
    "softplus",
    "sigmoid_binary_cross_entropy",
}


def header_complete(source: Source) -> list[str]:
    """The docstring names the source, the command, the hardware and the metric that was measured."""
    text = ast.get_docstring(source.tree) or ""
    missing = [h for h in HEADER if not re.search(rf"^{h}\b[^:\n]*:", text, re.MULTILINE)]
    command = f"vifx train {source.path}"
    if command not in text:
        missing.append(f"`{command}`")
    empty = [m.group() for m in PLACEHOLDER.finditer(text)]
    return [
        *(source.at(1, f"the header does not give {m}") for m in missing),
        *(source.at(1, f"the header has a placeholder, {e}") for e in empty),
    ]


def config_and_build(source: Source) -> list[str]:
    """One frozen dataclass `Config` and one function `build(config)`."""
    classes = [n for n in source.tree.body if isinstance(n, ast.ClassDef) and n.name == "Config"]
    frozen = [
        d
        for c in classes
        for d in c.decorator_list
        if isinstance(d, ast.Call)
        and any(k.arg == "frozen" and isinstance(k.value, ast.Constant) and k.value.value for k in d.keywords)
    ]
    builds = [n for n in source.tree.body if isinstance(n, Function) and n.name == "build"]
    found = [] if len(frozen) == 1 else [source.at(1, "needs one frozen dataclass Config")]
    if [[a.arg for a in b.args.args] for b in builds] != [["config"]]:
        found.append(source.at(1, "needs one function build(config)"))
    return found


def no_loss_no_loop(source: Source) -> list[str]:
    """Losses, gradients and training loops live in the package."""
    found = [
        source.at(n, f"{name}: losses and loops live in vifx/")
        for name, n in calls(source.tree)
        if name.rpartition(".")[2] in GRADIENTS | LOOPS | LOSSES
    ]
    found += [source.at(n, "a while loop") for n in walk(source.tree) if isinstance(n, ast.While)]
    for loop in (n for n in walk(source.tree) if isinstance(n, ast.For)):
        called = {dotted(n.func).rpartition(".")[2] for n in walk(loop) if isinstance(n, ast.Call)}
        if called & {"update", "step", "fit", "descend"}:
            found.append(source.at(loop, "a training loop"))
    return found


def one_loop(source: Source) -> list[str]:
    """Optimizer updates are applied, and the updates of steps are repeated, in `vifx/training/` and nowhere else.

    A loop of Python's may not call what makes an update: ``step.update``, that of ``solve(...)`` or of another
    combinator, a name for it such as ``update = jax.jit(step.update)``, or a function of the file that calls one.
    """
    if source.path.startswith("vifx/training/"):
        return []
    found = [
        source.at(n, f"{name} outside vifx/training/")
        for name, n in calls(source.tree)
        if name.endswith("apply_updates")
    ]
    updating: set[str] = set()
    while more := {name for name, node in _named(source.tree) if name not in updating and _updates(node, updating)}:
        updating |= more
    loops = (n for n in walk(source.tree) if isinstance(n, ast.For | ast.While | ast.ListComp | ast.GeneratorExp))
    return found + [source.at(n, "a loop over updates outside vifx/training/") for n in loops if _updates(n, updating)]


def _named(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions, and values that have a name, with what they are made of."""
    for node in walk(tree):
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from ((name.id, node.value) for name in names if isinstance(name, ast.Name))


def _updates(node: ast.AST, updating: set[str]) -> bool:
    """Whether the code below a node has the update of a step, or calls something that makes one."""
    for inner in walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr == "update":
            of = inner.value.func if isinstance(inner.value, ast.Call) else inner.value
            if dotted(of).rpartition(".")[2].removeprefix("_").endswith(STEPS):
                return True
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in updating:
            return True
    return False


def reduction_tested(source: Source, tests: dict[str, Source] | None = None) -> list[str]:
    """A method returns an `Assembly` and has a `test_reduces_to_…`: that of gan is in `tests/games/test_gan.py`."""
    folder, _, name = source.path.removeprefix("vifx/").rpartition("/")
    if not any(isinstance(f.returns, ast.Name) and f.returns.id == "Assembly" for f in functions(source.tree)):
        return []
    mirror = ROOT / "tests" / folder / f"test_{name}"
    test = Source(mirror.name, mirror.read_text(encoding="utf-8")) if mirror.exists() else Source("", "")
    if tests is not None:
        test = tests.get(name, Source("", ""))
    reduced = [f for f in functions(test.tree) if f.name.startswith("test_reduces_to_")]
    return [] if reduced else [source.at(1, f"tests/{folder}/test_{name} has no test_reduces_to_…")]


GOOD = '''
# path: experiments/vae_digits.py
"""A VAE.

Source: Kingma and Welling, 2014.
Command: vifx train experiments/vae_digits.py
Hardware: two CPU cores, one minute.
Metric: −ELBO 20.1 nats, Fashion-MNIST.
"""
@dataclass(frozen=True)
class Config(experiment.Config):
    latent: int = 16
def build(config): return Experiment()
'''

RULES = [
    Rule(
        12,
        header_complete,
        "experiments",
        (
            '"""A VAE."""',
            GOOD.replace("Hardware", "Machine"),
            GOOD.replace("vae_digits.py\nH", "other.py\nH"),
        ),
        (GOOD,),
    ),
    Rule(
        12,
        config_and_build,
        "experiments",
        (
            GOOD.replace("(frozen=True)", "()"),
            GOOD.replace("def build", "def make"),
            GOOD.replace("config)", ")"),
        ),
        (GOOD,),
    ),
    Rule(
        4,
        no_loss_no_loop,
        "experiments",
        (
            "g = jax.grad(f)",
            "jax.lax.scan(f, a, b)",
            "def loss(x): return -d.log_prob(x)",
            "while True: f()",
            "for batch in data:\n    state = step.update(state, batch)",
        ),
        (GOOD, "factors = [factor(n, net) for n in names]\nfor n in names:\n    factors.append(n)"),
    ),
    Rule(
        4,
        one_loop,
        "vifx",
        (
            "params = optax.apply_updates(params, updates)",
            "for _ in range(5):\n    progress, _ = step.update(key, progress, batch)",
            "while gain > 0:\n    progress, _ = training.solve(objective, 'model').update(key, progress, batch)",
            "update = jax.jit(step.update)\nfor key in keys:\n    update(key, progress, batch)",
            """
            def once(params):
                return solve(objective, "model").update(key, Progress(params, state, ()), batch)
            def many(params):
                return once(once(params))
            for _ in range(3):
                many(params)
            """,
        ),
        (
            "# path: vifx/training/descend.py\nparams = optax.apply_updates(params, updates)",
            "# path: vifx/training/loop.py\nfor key in keys:\n    step.update(key, progress, batch)",
            "progress, _ = step.update(key, progress, batch)\nfor name in names:\n    found.update({name: 1})",
            "fitted = training.fit(key, step, objective, source, steps=9)",
        ),
    ),
    Rule(
        2,
        reduction_tested,
        "vifx",
        ("# path: vifx/games/nowhere.py\ndef nowhere() -> Assembly: ...",),
        ("import vifx",),
    ),
]
