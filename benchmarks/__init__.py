"""How fast it is, and beside what. Run with `python -m benchmarks`."""
