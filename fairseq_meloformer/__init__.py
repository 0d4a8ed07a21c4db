"""MeloFormer: free-text control, in Chinese and English, for a frozen MuseFormer."""

__version__ = "0.1.0"
