"""Packaging: the checkout is the package `avemo`, its rooms are the folders named below."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
ROOMS = [
    pattern
    for room in ("cache", "extract", "fusion", "pipelines", "pretrain")
    for pattern in (room, f"{room}.*")
]


def requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def version() -> str:
    for line in (HERE / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("__init__.py names no __version__")


DEMO = ["scikit-image>=0.22"]
PRETRAIN = ["lightning-fabric>=2.2"]
ONNX = ["onnx>=1.17", "onnxruntime>=1.18"]
VAD = ["silero-vad>=6.2.1", "onnxruntime>=1.18"]
TIMM = ["timm>=1.0"]
SLURM = ["submitit>=1.5"]
RAY = ["ray>=2.9"]
DOCS = [*DEMO, "sphinx>=7.4", "furo>=2024.8", "myst-nb>=1.1", "sphinx-click>=6", "matplotlib>=3.7"]

setup(
    name="avemo",
    version=version(),
    description="Audio-video emotion recognition: clips in, emotions out",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    package_dir={"avemo": "."},
    packages=[
        "avemo",
        *(f"avemo.{name}" for name in find_packages(include=[*ROOMS, *map("{}.*".format, ROOMS)])),
    ],
    package_data={
        "avemo": ["py.typed"],
        "avemo.extract.backbones": ["data/*"],
        "avemo.pipelines.corpora.clips": ["*.toml"],
        "avemo.pipelines.pages": ["templates/*"],
        "avemo.pipelines.recipes": ["*.toml"],
    },
    install_requires=requirements(),
    extras_require={
        "demo": DEMO,
        "pretrain": PRETRAIN,
        "onnx": ONNX,
        "vad": VAD,
        "timm": TIMM,
        "slurm": SLURM,
        "ray": RAY,
        "docs": DOCS,
        "dev": [
            *DEMO,
            *PRETRAIN,
            *ONNX,
            *TIMM,
            *VAD,
            *SLURM,
            *DOCS,
            "mypy>=1.10",
            "pandas>=1.5",
            "ruff>=0.6",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "playwright>=1.45",
        ],
    },
    entry_points={
        "console_scripts": [
            "avemo = avemo.pipelines.cli.main:main",
            "avemo-extract = avemo.pipelines.cli.extract:main",
            "avemo-fuse = avemo.pipelines.cli.fuse:main",
        ]
    },
)
