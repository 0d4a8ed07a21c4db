"""MeloFormer: free-text control, in Chinese and English, for a frozen MuseFormer.

from fairseq_meloformer import compose

piece = compose("暴风雨", bars=16, seed=7)
piece.save("storm.mid")
piece.picture("storm.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_meloformer.bridge.model import Bridge
    from fairseq_meloformer.composing.composer import Composer, compose
    from fairseq_meloformer.museformer.model import MuseFormer

__version__ = "0.1.0"
__all__ = ["Bridge", "Composer", "MuseFormer", "compose"]

_HOMES = {
    "Bridge": "bridge.model",
    "Composer": "composing.composer",
    "MuseFormer": "museformer.model",
    "compose": "composing.composer",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever is asked for
    """Load what is asked for only then: the command line and the light rooms need no model."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
