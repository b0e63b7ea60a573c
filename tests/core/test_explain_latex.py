"""The LaTeX of `explain` compiles, and every symbol of every objective is defined there."""

from __future__ import annotations

import re
import unicodedata

import pytest
from mathjax import errors

import vifx
from vifx import diffusion, divergences, em, flows, networks
from vifx.core.symbols import definitions

HEAD = networks.DiagonalNormal((2,))
CRITIC = networks.Critic(networks.MLP((4,)))
DATA = vifx.Joint(vifx.evidence("x"))
INFERENCE = vifx.Joint(
    vifx.evidence("x"), vifx.factor("z | x", networks.Conditional(networks.MLP((4,)), HEAD), name="encoder")
)
PRIOR = vifx.factor("z", vifx.standard_normal(2))
DECODER = networks.Conditional(networks.MLP((4,)), networks.NormalFixedScale((3,), 0.5))
GENERATIVE = vifx.Joint(PRIOR, vifx.factor("x | z", DECODER, name="my_decoder"))
GENERATOR = vifx.Joint(PRIOR, vifx.implicit("x | z", networks.MLP((4,), outputs=3), name="generator"))
MIXTURE = vifx.Joint(
    vifx.factor("z", em.categorical(3), name="weights"), vifx.factor("x | z", em.gaussian(3), name="components")
)
FLOW = vifx.transformed("x", vifx.standard_normal(3), flows.realnvp(depth=2), name="flow")
TAGGER = networks.Conditional(networks.MLP((4,)), networks.BernoulliHead((2,)))
LABELS = vifx.Joint(vifx.evidence("x", "y"))
GAMES = (*divergences.NAMES, "alpha(0.5)", "hinge", "least_squares", "relativistic", "wasserstein", "labelled_kl")


def banana(z):
    return -(z[:, 0] ** 2) - z[:, 1] ** 2


def game(**options):
    return vifx.adversarial(DATA, GENERATOR, CRITIC, on="x", **options)


def ali(form):
    return vifx.adversarial(INFERENCE, GENERATIVE, CRITIC, on=("x", "z"), form=form)


def masked(noise, steps=None):
    reverse = diffusion.discrete_reverse(networks.Transformer(3, 8, 1, 2), noise, (3,), steps=steps)
    return vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", diffusion.discrete_forward(noise, steps=steps))),
        vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.unnoised(noise))),
    )


OBJECTIVES = {
    "kl": lambda: vifx.kl(INFERENCE, GENERATIVE),
    "weighted": lambda: -2.0 * vifx.kl(INFERENCE, GENERATIVE, weights={"kl/z": 2.0}, free_bits=1.0),
    "importance_weighted": lambda: vifx.importance_weighted(INFERENCE, GENERATIVE, samples=3),
    "reconstruction": lambda: vifx.reconstruction(INFERENCE, GENERATIVE),
    "focal": lambda: vifx.focal(LABELS, vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", TAGGER, name="tagger"))),
    "flow": lambda: vifx.kl(DATA, vifx.Joint(FLOW)),
    "em": lambda: vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(MIXTURE, "z | x")), MIXTURE),
    "target": lambda: vifx.kl(vifx.Joint(PRIOR), vifx.Joint(vifx.target("z", banana))),
    "mmd": lambda: vifx.mmd(INFERENCE, GENERATIVE, on="z"),
    "aae": lambda: vifx.adversarial(INFERENCE, GENERATIVE, CRITIC, on="z") + vifx.reconstruction(INFERENCE, GENERATIVE),
    "discrete diffusion": lambda: masked(diffusion.absorbing(3)),
    "discrete diffusion in steps": lambda: masked(diffusion.absorbing(3), steps=4),
    "discrete diffusion, uniform": lambda: masked(diffusion.uniform(3)),
    "label prior": lambda: game(label_prior=0.3),
    "proximal": lambda: game(proximal=1.0),
    "two games": lambda: game(divergence="kl", critic_divergence="labelled_kl"),
    "activation": lambda: game(divergence="pearson", parametrization="activation"),
    **{f"ali {form}": lambda form=form: ali(form) for form in ("nonsaturating", "minimax", "full", "truncated")},
    **{f"gan {name}": lambda name=name: game(divergence=name) for name in GAMES if name != "total_variation"},
    "gan total_variation": lambda: game(divergence="total_variation", parametrization="activation"),
}
GREEK = "αδλπσℓ"
KNOWN = {"log", "det", "sup", "max", "sign", "e", "t", "u"}  # the last two are bound, in f*(t) = sup_u […]
WORDS = {"observed", "latent", "latents", "data", "likelihood"}  # of which factors are in general


def lines(objective):
    for part in objective.parts:
        yield from (part.title, *(f"${joint}$" for joint in part.joints), *part.derivation)
        yield from (term.formula for term in part.terms(None))


def symbols(text):
    """The letters and words of the formulas of a line, without their indices."""
    formulas = " ".join(text.split("$")[1::2]).replace("p̃", "p̃ ").replace("²", " ")
    found = re.findall(rf"p̃|[{GREEK}]|[A-Za-z]\w*", formulas)
    return {each.partition("_")[0] if each[1:2] == "_" or each.startswith("sup_") else each for each in found}


def undefined(objective):
    """What is neither a variable, a factor, in the list of symbols, nor said in a line to be something."""
    text = [unicodedata.normalize("NFC", line) for line in lines(objective)]
    whole = "  ".join(text).replace("$", "")
    names = {variable for part in objective.parts for joint in part.joints for variable in joint.variables}
    factors = {
        found for part in objective.parts for joint in part.joints for found in re.findall(r"(\w+)\(", str(joint))
    }
    games = set(re.findall(r"\w+(?=(?:\([\d.]+\))?\(A, B\))", whole))  # the divergence that a bound is of
    listed = set().union(*(symbols(symbol) for symbol, _ in definitions(text)))
    rest = set().union(*map(symbols, text)) - names - factors - games - listed - KNOWN - WORDS
    said = (
        r"(?<!\w)%s[*′]?(?:\(\w+(?:, \w+)?\))?(?:_\w+)?(?:, \w′)?(?: =| is | estimates | are drawn| the | dimensions)"
    )
    before = r"(?:label|constant|scale|every|in|with) %s(?!\w)"
    return {each for each in rest if not any(re.search(form % re.escape(each), whole) for form in (said, before))}


FEW = ["kl", "mmd", "ali full"]


@pytest.mark.first(1)
@pytest.mark.parametrize("names", [FEW, [*OBJECTIVES]], ids=["few", "all"])
def test_every_symbol_is_defined(names):
    assert {name: left for name in names if (left := undefined(OBJECTIVES[name]()))} == {}


@pytest.mark.first(1)
@pytest.mark.parametrize("names", [FEW, [*OBJECTIVES]], ids=["few", "all"])
def test_every_derivation_compiles(names):
    """By MathJax, without packages beyond amsmath; in ASCII, as a TeX engine of any age reads it."""
    written = {name: vifx.explain(OBJECTIVES[name](), style="latex") for name in names}
    assert {name: text for name, text in written.items() if not text.isascii()} == {}
    rows = [row for text in written.values() for row in text.splitlines() if "&&" not in row]
    assert max(len(re.sub(r"\\[A-Za-z]+|[{}\\$]", "", row)) for row in rows) < 90  # as wide as a page
    blocks = [block for text in written.values() for block in re.split(r"(?<=\\end\{align\*\})\n", text)]
    assert errors(list(dict.fromkeys(blocks))) == {}
    prose = " ".join(re.findall(r"\\text\{([^{}]*)\}", " ".join(blocks)))
    assert re.findall(r"(?<!\\)[#%&^$~]", prose) == []


@pytest.mark.parametrize(("text", "message"), [(r"\frac{1}", "Missing argument"), (r"\nothing x", "Undefined control")])
def test_what_does_not_compile_is_found(text, message):
    assert message in errors([text])[text]


@pytest.mark.first(3)
@pytest.mark.parametrize("name", sorted(name for name in OBJECTIVES if name.startswith(("a", "gan", "mmd"))))
def test_games_say_what_a_and_b_are(name):
    text = vifx.explain(OBJECTIVES[name](), style="latex").replace(" \\\\\n& \\quad ", " ")
    assert re.search(r"& A = [^;]*\((?:moves|stands still)\);", text)
    assert re.search(r"[ }]B = [^;]*\((?:moves|stands still)\);", text)
