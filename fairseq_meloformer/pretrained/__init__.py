"""The embedded default: a MuseFormer and its bridge, as safetensors with config.json and a model card each."""

from pathlib import Path

MUSEFORMER = Path(__file__).parent / "museformer-mini"
BRIDGE = Path(__file__).parent / "bridge-mini"
