"""Risk checks: what the summaries hold, and what injecting them does."""
