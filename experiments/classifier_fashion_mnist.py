"""Classifier of Fashion-MNIST as two joints, with a choice of regularizers.

Source:   Zhang et al. (2018), mixup: beyond empirical risk minimization, arXiv:1710.09412; Inoue (2018), Data
          augmentation by pairing samples, arXiv:1801.02929; Yoshida and Miyato (2017), Spectral norm regularization,
          arXiv:1705.10941; Drucker and LeCun (1992), Improving generalization performance using double
          backpropagation; Loshchilov and Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101.
Command:  vifx train experiments/classifier_fashion_mnist.py
          vifx train experiments/classifier_fashion_mnist.py --regularizer mixup
Hardware: 2 CPU cores, about 2 minutes.
Metric:   accuracy 0.900 and calibration error 0.016 on the test split; with mixup 0.905 and 0.009.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, classifier


@dataclass(frozen=True)
class Config(classifier.Config):
    """The options of this experiment."""

    steps: PositiveInt = 3000
    """How many updates to make: 7 epochs by default."""
    evaluate_every: PositiveInt | None = 300
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Output channels of the convolutions, each of which halves the image."""
    hidden: tuple[PositiveInt, ...] = (128,)
    """Widths of the dense layers above them."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the classifier, and the experiment of the two joints that it belongs to."""
    splits = data.load(config.data)
    head = networks.CategoricalHead(splits.info.classes or 1)
    body = networks.Conditional(networks.ConvEncoder(config.channels), networks.MLP(config.hidden))
    return classifier.experiment(config, splits, networks.Conditional(body, head))
