"""Stage B: the diffusion bridge from text to summary tokens."""

from fairseq_meloformer.bridge.model import Bridge, BridgeConfig

__all__ = ["Bridge", "BridgeConfig"]
