"""The bridge against other ways from text to a plan."""
