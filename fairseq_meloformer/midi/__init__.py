"""MIDI files to notes and back."""

from fairseq_meloformer.midi.files import bar_lines, read, write

__all__ = ["bar_lines", "read", "write"]
