"""The embedded default, as safetensors with config.json and a model card each: a MuseFormer and its bridge.

Beside them lies the probe that reads prompts, `words.probe.DEFAULT`.
"""

from pathlib import Path

MUSEFORMER = Path(__file__).parent / "museformer-mini"
BRIDGE = Path(__file__).parent / "bridge-mini"
