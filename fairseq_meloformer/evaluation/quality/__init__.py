"""Is it like real music? Composed pieces beside held-out songs."""
