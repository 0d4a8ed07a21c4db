"""From a sentence to a piece: plans, candidates, sections, pieces on disk."""
