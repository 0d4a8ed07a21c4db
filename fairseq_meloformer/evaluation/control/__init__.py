"""Does the music obey? Pieces against what their prompts ask for."""
