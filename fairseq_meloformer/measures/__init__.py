"""What is measured in music: attributes of passages, keys, and where they lie in a corpus."""
