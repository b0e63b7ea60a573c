"""Families by their names, and what else they are called."""

from __future__ import annotations

__all__ = ["FamilyName", "Maker", "family_maker"]

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from vifx.checks import nearest, require_function
from vifx.em.families.autoregressive import autoregressive
from vifx.em.families.bernoulli import bernoulli
from vifx.em.families.categorical import categorical
from vifx.em.families.factor_analysis import factor_analysis
from vifx.em.families.gaussian import gaussian
from vifx.em.families.multinomial import multinomial
from vifx.em.families.poisson import poisson
from vifx.em.families.ppca import ppca
from vifx.em.families.student_t import student_t
from vifx.em.family import Family

FamilyName: TypeAlias = Literal[
    "autoregressive",
    "bernoulli",
    "categorical",
    "factor_analysis",
    "gaussian",
    "multinomial",
    "poisson",
    "ppca",
    "student_t",
]
"""The name of a family of `vifx.em`."""
Maker: TypeAlias = FamilyName | Callable[..., Family]
"""A family by its name, or what makes one of ``states=`` and options."""

_MAKERS: dict[str, Callable[..., Family]] = {
    make.__name__: make
    for make in (
        *(autoregressive, bernoulli, categorical, factor_analysis, gaussian, multinomial, poisson, ppca, student_t),
    )
}
_SYNONYMS = {
    **dict.fromkeys(("ar", "arhmm", "switching", "regression"), "autoregressive"),
    **dict.fromkeys(("binary", "binomial", "bool"), "bernoulli"),
    **dict.fromkeys(("discrete", "classes", "lca", "latent_class"), "categorical"),
    **dict.fromkeys(("fa", "factors", "mfa"), "factor_analysis"),
    **dict.fromkeys(("normal", "gmm", "gauss", "mvn", "multivariate_normal", "real"), "gaussian"),
    **dict.fromkeys(("words", "unigrams", "bag_of_words"), "multinomial"),
    **dict.fromkeys(("counts", "count"), "poisson"),
    **dict.fromkeys(("pca", "principal_components"), "ppca"),
    **dict.fromkeys(("t", "student", "studentt", "t_distribution", "robust"), "student_t"),
}
_OPTIONS = {
    **dict.fromkeys(("covariance_type", "cov", "covariances"), "covariance"),
    **dict.fromkeys(("reg_covar", "min_covar", "least", "min_variance"), "floor"),
    **dict.fromkeys(("n_features", "n_classes", "n_categories", "values"), "classes"),
    **dict.fromkeys(("factors", "latent_dim", "rank"), "latent"),
    **dict.fromkeys(("nu", "degrees"), "df"),
}


def family_maker(make: Maker, options: Mapping[str, Any], caller: str) -> Callable[..., Family]:
    """Return what makes a family, given by its name or as a function, and check its options.

    Args:
      make: the name or the function.
      options: of the family, beside ``states``.
      caller: for messages.

    Raises:
      TypeError: `make` is neither, an option does not exist, or one is missing that the family needs.
      ValueError: an unknown name; the message has all of them and the one that is meant.
    """
    if isinstance(make, str):
        if make not in _MAKERS:
            plain = make.lower().replace("-", "_").replace(" ", "_")
            meant = plain if plain in _MAKERS else _SYNONYMS.get(plain)
            hint = f"; did you mean {meant!r}?" if meant else nearest(plain, _MAKERS) or "."
            known = ", ".join(map(repr, get_args(FamilyName)))
            raise ValueError(f"{caller}: unknown family {make!r}{hint} There are: {known}.")
        make = _MAKERS[make]
    require_function(make, f"{caller}: make", "that makes a family, such as em.gaussian, or the name of one")
    if make in _MAKERS.values():
        _check_options(make, options, caller)
    return make


def _check_options(make: Callable[..., Family], options: Mapping[str, Any], caller: str) -> None:
    parameters = {name: each for name, each in inspect.signature(make).parameters.items() if name != "states"}
    for name in options:
        if name not in parameters:
            meant = _OPTIONS.get(name)
            hint = f"; did you mean {meant!r}?" if meant in parameters else nearest(name, parameters) or "."
            raise TypeError(
                f"{caller}: {make.__name__} has no option {name!r}{hint} It has: {', '.join(map(repr, parameters))}."
            )
    missing = [n for n, each in parameters.items() if each.default is inspect.Parameter.empty and n not in options]
    if missing:
        raise TypeError(f"{caller}: {make.__name__} needs {missing[0]}=; give it as a further option.")
