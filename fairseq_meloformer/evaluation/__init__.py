"""Control reports, diagnostics and quality metrics."""
