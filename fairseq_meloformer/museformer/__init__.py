"""The frozen model: MuseFormer in plain torch."""
