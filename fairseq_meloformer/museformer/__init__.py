"""The frozen model: MuseFormer in plain torch."""

from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer

__all__ = ["MuseFormer", "MuseFormerConfig"]
