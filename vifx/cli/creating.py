"""`vifx new`: an experiment of one's own to begin with."""

from __future__ import annotations

__all__ = ["new_command"]

import re
from pathlib import Path

from vifx.cli.console import output
from vifx.cli.copying import written
from vifx.cli.options import NewOptions
from vifx.cli.parse import UsageError

_NAME = re.compile(r"[A-Za-z_]\w*")
_BEGINNING = '''"""A variational autoencoder of images, to be edited.

Command:  vifx train {path}
          vifx train {path} --latent 16 --data.path FOLDER --data.size 32
"""

from __future__ import annotations

from dataclasses import dataclass

import vifx
from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """Every field is an option of the command, and its annotation is the rule that a value must keep."""

    latent: PositiveInt = 8
    """Dimension of z; this text is what --help says."""


def build(config: Config) -> Experiment:
    """Declare two joint distributions; the objective is a divergence between them."""
    splits = data.load(config.data)
    body, pixels = networks.MLP(config.hidden), networks.Pixels()
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs=(pixels,))
    head = networks.DiscretizedLogisticHead(splits.info.shape, data.shades_of(splits.train))
    decoder = networks.Conditional(body, head)
    encoder, decoder = config.net(encoder), config.net(decoder)

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    prior = vifx.factor("z", vifx.standard_normal(config.latent))
    generative = vifx.Joint(prior, vifx.factor("x | z", decoder, name="decoder"))
    objective = vifx.kl(inference, generative)
    return autoencoder.experiment(config, splits, inference, generative, objective)
'''


def new_command(options: NewOptions) -> None:
    """Write an experiment that runs as it is, to be edited: `vifx new NAME`.

    Raises:
      UsageError: if the name is not that of a Python file, or the file is there already.
    """
    name = options.name.removesuffix(".py")
    if not _NAME.fullmatch(name):
        raise UsageError(f"NAME must be letters, digits and underscores, such as my_vae; got {options.name!r}")
    path = options.out or Path(f"{name}.py")
    written(path, _BEGINNING.format(path=path).encode())
    output().print(f"{path}: edit it, then: vifx train {path}", markup=False)
