"""Standard MIDI Files made byte by byte."""

END_OF_TRACK = b"\x00\xff\x2f\x00"


def header(tracks=1, kind=1, division=480):
    return b"MThd\x00\x00\x00\x06" + b"".join(number.to_bytes(2, "big") for number in (kind, tracks, division))


def track(*events, end=END_OF_TRACK, size=None):
    body = b"".join(events) + end
    return b"MTrk" + (len(body) if size is None else size).to_bytes(4, "big") + body


def note(channel, pitch, wait=0, length=100, velocity=90):
    """A note of up to 127 ticks, after a rest of as many."""
    return bytes((wait, 0x90 | channel, pitch, velocity, length, 0x80 | channel, pitch, 64))


def program(channel, number, wait=0):
    return bytes((wait, 0xC0 | channel, number))


def bank(channel, number):
    return bytes((0, 0xB0 | channel, 0, number))


def port(number):
    return bytes((0, 0xFF, 0x21, 1, number))


def exclusive(*message):
    return bytes((0, 0xF0, len(message) + 1, *message, 0xF7))


def name(text):
    return bytes((0, 0xFF, 0x03, len(text))) + text
