"""From a folder of MIDI files to training data: tokens, measurements, captions, splits."""
