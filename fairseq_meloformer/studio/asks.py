"""What the page and programs ask the studio for, as JSON, within limits that one machine can serve."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.museformer.sampling import Sampling

MOST_BARS: Final = 128
"""Bars of a piece, also of one that is brought and changed."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Axis = Literal["tempo", "density", "register", "leaps", "sustain", "loudness", "mode", "drums"]
Track = Literal["lead", "drums", "bass", "guitar", "piano", "strings"]
Bar = Annotated[int, Field(ge=1, le=MOST_BARS)]
_SAMPLING: Final = Sampling()
_SETTINGS: Final = Settings()


class _Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Passage(_Ask):
    """Bars of a piece that are to be written anew, or added to it; one of `bars`, `after` and `before`."""

    piece: Id
    bars: tuple[Bar, Bar] | None = None
    after: Bar | None = Field(None, description="so many bars after its end")
    before: Bar | None = Field(None, description="so many bars before it, an introduction")
    tracks: list[Track] = Field([], description="only these instruments; all that the text is for if empty")

    @model_validator(mode="after")
    def _one(self) -> "Passage":
        if sum(part is not None for part in (self.bars, self.after, self.before)) != 1:
            raise ValueError("a passage must have one of bars, after and before")
        return self


_OF_A_WHOLE: Final = ("bars", "best_of", "transpose", "plan_from")
"""What only a piece of its own can be asked for."""


class ComposeAsk(_Ask):
    """Pieces to compose. The same ask gives the same pieces."""

    text: str = Field("", max_length=2000, description="Chinese or English; may be a timeline: 1-8: calm | 9-16: storm")
    bars: Bar | None = Field(None, description="length; what the text says if there is none")
    seed: int = Field(0, ge=0, lt=2**32)
    number: int = Field(0, ge=0, lt=1000, description="of the first piece among those of this text and seed")
    count: int = Field(1, ge=1, le=4, description="pieces")
    best_of: int = Field(1, ge=1, le=4, description="drafts of each piece, of which the nearest to the text is kept")
    transpose: int = Field(0, ge=-24, le=24, description="semitones")
    axes: dict[Axis, Annotated[float, Field(ge=-1, le=1)]] = Field(
        {}, description="in the place of what is read in the text"
    )
    temperature: float = Field(_SAMPLING.temperature, ge=0.1, le=4)
    top_k: int = Field(_SAMPLING.top_k, ge=0, le=1000)
    top_p: float = Field(_SAMPLING.top_p, gt=0, le=1)
    tilt: float = Field(DecodingControl.strength, ge=0, le=2)
    guidance_scale: float = Field(_SETTINGS.guidance_scale, ge=0, le=10)
    strength: float = Field(_SETTINGS.strength, ge=0, le=1, description="of the plan")
    plan_from: Id | None = Field(None, description="a piece whose plan is followed in the place of the text's")
    passage: Passage | None = None

    @model_validator(mode="after")
    def _fits_its_passage(self) -> "ComposeAsk":
        fields = type(self).model_fields
        said = ", ".join(name for name in _OF_A_WHOLE if getattr(self, name) != fields[name].default)
        if self.passage is not None and said:
            raise ValueError(f"a passage has its piece's length and key, a plan of its text and one draft: no {said}")
        return self
