"""Stage C: a plan takes the place of the model's own summaries, and music comes out."""

from fairseq_meloformer.injection.hooks import inject

__all__ = ["inject"]
