"""Evidence: datasets by name, sources of minibatches, and transforms of the data distribution."""

from __future__ import annotations

__all__ = [
    "CASINO",
    "REBER",
    "SPIRAL_PATHS",
    "TRACKING",
    "Alphabet",
    "Casino",
    "Combined",
    "Config",
    "Dataset",
    "Full",
    "Grammar",
    "Info",
    "Modes",
    "Pca",
    "Resident",
    "Source",
    "SpiralPaths",
    "Split",
    "Sprites",
    "Standardization",
    "Streaming",
    "Table",
    "Tracking",
    "Transform",
    "Unobserved",
    "Window",
    "alphabet",
    "available",
    "batches",
    "binarize",
    "compose",
    "data_directory",
    "dequantize",
    "epoch_order",
    "fixed_binarization",
    "flatten",
    "from_arrays",
    "hold_out",
    "law",
    "load",
    "mixup",
    "modes",
    "normalize",
    "one_hot",
    "open_splits",
    "pca",
    "prepare",
    "read_idx",
    "read_keel",
    "sample_pairing",
    "shades_of",
    "source",
    "spelled",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.data.casino import CASINO, Casino
    from vifx.data.catalogue import load, open_splits, prepare
    from vifx.data.combined import Combined
    from vifx.data.data_config import Config
    from vifx.data.dataset import Dataset, Info, Split, from_arrays, hold_out
    from vifx.data.full import Full
    from vifx.data.generated import Modes, law, modes
    from vifx.data.idx import read_idx
    from vifx.data.keel import Table, read_keel
    from vifx.data.names import available, data_directory
    from vifx.data.order import epoch_order
    from vifx.data.pca import Pca, pca
    from vifx.data.reber import REBER, Grammar
    from vifx.data.resident import Resident, Window
    from vifx.data.rows import Source, batches
    from vifx.data.shades import shades_of
    from vifx.data.source import source
    from vifx.data.spiral_paths import SPIRAL_PATHS, SpiralPaths
    from vifx.data.sprites import Sprites
    from vifx.data.standardization import Standardization
    from vifx.data.streaming import Streaming
    from vifx.data.text import Alphabet, alphabet, spelled
    from vifx.data.tracking import TRACKING, Tracking
    from vifx.data.transforms import (
        Transform,
        binarize,
        compose,
        dequantize,
        fixed_binarization,
        flatten,
        mixup,
        normalize,
        one_hot,
        sample_pairing,
    )
    from vifx.data.unobserved import Unobserved

make_lazy(__name__)
