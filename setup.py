"""What pyproject.toml cannot say: the files of `experiments/` go into the package, as `vifx/shipped/`."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """The build of the package, with the experiments as one more folder of it."""

    def finalize_options(self) -> None:
        """Add the folder; an editable install, which copies nothing, finds it where it is."""
        super().finalize_options()
        if not self.editable_mode:
            self.packages = [*self.packages, "vifx.shipped"]
            self.package_dir = {**(self.package_dir or {}), "vifx.shipped": "experiments"}


setup(cmdclass={"build_py": BuildWithExperiments})
