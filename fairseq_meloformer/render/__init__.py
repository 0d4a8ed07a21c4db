"""Music to see and hear: piano rolls and sound."""
