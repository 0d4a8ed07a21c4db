"""The studio: a page on which a person composes, and the same over HTTP for programs."""
