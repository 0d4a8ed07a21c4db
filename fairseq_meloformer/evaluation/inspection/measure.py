"""Everything that is looked into: numbers for inspect.json, and the pictures that go with them."""

from collections.abc import Sequence
from typing import Any, Final

from fairseq_meloformer.evaluation.inspection import injected, pictures, probes
from fairseq_meloformer.evaluation.inspection.late_bars import late_bars
from fairseq_meloformer.evaluation.inspection.music import InspectedSong, stacked
from fairseq_meloformer.museformer.model import MuseFormer

_PREDICTED: Final = 60  # songs that are predicted as they stand and from their middle
_SHOWN_BARS: Final = 5  # with their nearest ones, as piano rolls


def summaries(songs: Sequence[InspectedSong]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What can be said of summaries alone: numbers for JSON, and pictures."""
    values, numbers, attributes = stacked(songs)
    components = probes.components(values)
    decoded = probes.decodability(values, numbers, attributes)
    near = probes.neighbours(values, numbers, attributes)
    drawn = {
        "attributes": pictures.by_attribute(components, attributes),
        "songs": pictures.by_song(components, numbers),
        "explained": pictures.explained(components),
        "decodability": pictures.heat(decoded, "view", "correlation"),
    }
    if all(song.tokens for song in songs):
        drawn["nearest"] = _nearest(songs, near)
    found = {
        "songs": len(songs),
        "bars": len(values),
        "measured": "by bar" if songs[0].tokens else "by passage",
        "components": [{name: view[name] for name in ("view", "for_90", "for_99", "explained")} for view in components],
        "decodability": decoded,
        "nearest": near["difference"],
    }
    return found, drawn


def _nearest(songs: Sequence[InspectedSong], near: dict[str, Any]) -> bytes:
    places = [(number, bar) for number, song in enumerate(songs) for bar in range(len(song.summaries))]
    every = max(1, len(near["bars"]) // _SHOWN_BARS)
    groups = [
        [places[bar], *(places[other] for other in near["nearest"][index])] for index, bar in enumerate(near["bars"])
    ]
    return pictures.nearest(songs, groups[::every][:_SHOWN_BARS])


def injections(
    model: MuseFormer, songs: Sequence[InspectedSong], pieces: int, bars: int, seed: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What injection does to how songs are predicted, and to pieces that are written: numbers for JSON, and pictures.

    Args:
        model: to inject into.
        songs: whose summaries.
        pieces: to write for each injection.
        bars: of these.
        seed: of the first.
    """
    long = [song for song in songs if len(song.summaries) >= bars] or songs
    every = max(1, len(long) // max(1, pieces))
    chosen = long[::every][: max(pieces, 8)]
    found: dict[str, Any] = {"scope": model.config.scope, "perplexity": injected.perplexities(model, chosen)}
    found["late_bars"] = late_bars(model, songs[:: max(1, len(songs) // _PREDICTED)])
    written = injected.pieces(model, chosen[:pieces], bars, seed)
    if not written:
        return found, {}
    found["music"] = injected.obedience(written)
    return found, {"music": pictures.heat(found["music"], "injection", "correlation")}
