"""Machines that are not at hand: what they do is computed from data sheets, and none of it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairseq_meloformer.evaluation.cost.measure import Unit

USED: Final = 0.3
"""Share of its greatest rate that a GPU is taken to reach at best: an assumption."""

START: Final = 1e-5
"""Seconds in which the processor starts an operation of PyTorch on a GPU, forward or back: an assumption."""


@dataclass(frozen=True)
class Machine:
    """A machine to rent.

    Attributes:
        name: what it is.
        gpus: how many, that share a batch.
        flops: FLOP/s of matrix products of one, in the precision that the plugin uses there.
        cores: of the processor; MIDI files are prepared there.
        dollars: of an hour, on demand.
    """

    name: str
    gpus: int
    flops: float
    cores: int
    dollars: float

    def seconds(self, units: Mapping[str, Unit]) -> dict[str, float]:
        """Seconds of a unit of each stage: of what its products and the start of its operations take, the longer."""
        return {
            stage: unit.seconds / self.cores
            if not unit.gpu_flops
            else max(unit.gpu_flops / (USED * self.flops), unit.gpu_operations * START) / self.gpus
            for stage, unit in units.items()
        }


MACHINES: Final = (
    # NVIDIA A100 data sheet (2021): 312 TFLOP/s in bfloat16, dense. Google Cloud a2-highgpu-1g, 12 cores.
    Machine("one A100", 1, 312e12, 12, 3.67),
    # NVIDIA V100 SXM2 data sheet (2020): 15.7 TFLOP/s in float32; it has no bfloat16. Amazon EC2 p3.8xlarge, 32 cores.
    Machine("4 x V100", 4, 15.7e12, 32, 12.24),
)

CORE_DOLLARS: Final = 0.048
"""Of an hour of a core: half of Amazon EC2's m5.large, two cores and 8 GB, on demand."""
