"""Music to see, hear and read: piano rolls, sound, scores, pages, and tables and figures of what is measured."""
