"""Paged attention equals attention, however songs grow, shrink, leave and double."""

import random

import torch
from torch.nn import functional

from fairseq_meloformer.museformer.paged import Pages

LAYERS, HEADS, DIM = 2, 2, 4


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64)


def test_any_history_of_fills_steps_and_selections():
    torch.manual_seed(0)
    rng = random.Random(0)
    songs = [noise(LAYERS, 2, HEADS, 3, DIM) for _ in range(4)]
    windows = Pages(4, LAYERS, HEADS, DIM, songs[0])
    for song, content in enumerate(songs):
        windows.fill(song, [content])
    for turn in range(90):
        if turn % 20 == 19:
            rows = [rng.randrange(len(songs)) for _ in range(rng.randint(1, 5))]
            songs = [songs[row] for row in rows]
            windows.select(rows)
        elif turn % 7 == 6:
            song = rng.randrange(len(songs))
            songs[song] = noise(LAYERS, 2, HEADS, rng.choice([0, 1, 63, 64, 65, 200, 400]), DIM)
            windows.fill(song, songs[song].split([1, songs[song].shape[3] - 1] if songs[song].shape[3] else [0], dim=3))
        windows.advance()
        new = noise(LAYERS, len(songs), 3, HEADS, DIM)
        songs = [torch.cat([content, new[:, song, 1:, :, None]], dim=3) for song, content in enumerate(songs)]
        for layer in range(LAYERS):
            mixed = windows.attend(layer, new[layer])
            for song, content in enumerate(songs):
                keys, values = content[layer]
                expected = functional.scaled_dot_product_attention(new[layer, song, 0][:, None], keys, values)
                torch.testing.assert_close(mixed[song], expected.flatten(), atol=1e-12, rtol=1e-12)
    for song, content in enumerate(songs):
        first = rng.randrange(content.shape[3])
        assert windows.content(song, first).equal(content[:, :, :, first:])
        assert windows.used[song] == content.shape[3]
