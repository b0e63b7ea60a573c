"""What a run records of itself."""

from __future__ import annotations

from pathlib import Path

from vifx.experiment import Config
from vifx.experiment.file import ExperimentFile
from vifx.experiment.run import Run


def test_a_stretch_begins_where_the_devices_change_and_goes_on_where_they_do_not():
    file = ExperimentFile(Path("some.py"), "", Config, lambda config: config, "")
    run = Run(Path("run"), file, Config()).continued(at=0)
    assert [stretch.at for stretch in run.stretches] == [0]
    assert run.continued(at=100) == run
    elsewhere = run._replace(stretches=tuple(stretch._replace(devices="8 × TPU") for stretch in run.stretches))
    moved = elsewhere.continued(at=100)
    assert [(stretch.at, stretch.devices == "8 × TPU") for stretch in moved.stretches] == [(0, True), (100, False)]
    again = moved.continued(at=50)  # from an earlier checkpoint: what was made after it is made anew
    assert [stretch.at for stretch in again.stretches] == [0, 50]
