"""What do people hear? A blind listening test on one offline page, and the table of its answers."""
