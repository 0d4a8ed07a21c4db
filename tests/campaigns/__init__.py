"""Long runs of what is hostile, small ones of which are tests: mutated MIDI, prompts, models, servers, and threads."""
