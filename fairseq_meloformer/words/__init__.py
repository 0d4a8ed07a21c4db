"""Text to what it asks of music, and music to what might be said of it, in Chinese and English."""
