"""Classifier of scikit-learn's 8×8 handwritten digits as two joints, with a choice of regularizers.

Source:   Zhang et al. (2018), mixup: beyond empirical risk minimization, arXiv:1710.09412; Inoue (2018), Data
          augmentation by pairing samples, arXiv:1801.02929; Yoshida and Miyato (2017), Spectral norm regularization,
          arXiv:1705.10941; Drucker and LeCun (1992), Improving generalization performance using double
          backpropagation; Loshchilov and Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101.
Command:  vifx train experiments/classifier_digits.py
          vifx train experiments/classifier_digits.py --regularizer mixup
Hardware: 2 CPU cores, less than half a minute.
Metric:   accuracy 0.978 and calibration error 0.010 on the test split; with mixup 0.989 and 0.077.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, classifier


@dataclass(frozen=True)
class Config(classifier.Config):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many updates to make: 49 epochs by default."""
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the hidden layers."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the classifier, and the experiment of the two joints that it belongs to."""
    splits = data.load(config.data)
    head = networks.CategoricalHead(splits.info.classes or 1)
    return classifier.experiment(config, splits, networks.Conditional(networks.MLP(config.hidden), head))
