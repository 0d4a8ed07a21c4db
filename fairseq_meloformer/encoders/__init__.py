"""Frozen text encoders, and the cache of what they give."""
