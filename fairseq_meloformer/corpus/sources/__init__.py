"""Where captions come from: comments on songs, MusicCaps, MidiCaps, a language model, or what was measured."""
