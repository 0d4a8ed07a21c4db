"""Stage C: a plan takes the place of the model's own summaries, and music comes out."""
