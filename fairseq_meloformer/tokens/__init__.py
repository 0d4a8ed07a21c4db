"""Notes to MuseFormer's tokens and back, and which token may follow which."""
