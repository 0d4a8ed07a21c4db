"""What does it cost to train on so many songs: measured on this machine, and computed for others."""
