"""MIDI <-> tokens <-> measured attributes <-> words."""
