"""Stage A: the summary tokens of real music, and where they are kept."""
