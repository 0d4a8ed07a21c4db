"""Fewer bits: weights in bfloat16, or int8 on CPUs, for decoding; products in bfloat16 for training.

int8 keeps one scale per output and quantises inputs as they come: CPUs are fast at products of integers. bfloat16 pays
only on CPUs and GPUs that can calculate with it. Attention stays in floating point.
"""

import warnings
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_QUANTISED = ("_out_proj", "_fc1", "_fc2", "output_projection")  # and, made for decoding, `SelfAttention.fused`
_Model = TypeVar("_Model", bound=nn.Module)


class Int8Linear(nn.Linear):
    """A linear layer that calculates in int8. It keeps the weights it was made of, and with them their names."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        weight = linear.weight.detach().float()
        scale = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zero = torch.zeros(len(scale), dtype=torch.long)
        bias = None if linear.bias is None else linear.bias.detach().float()
        with warnings.catch_warnings():  # PyTorch means to replace its quantised tensors some day
            warnings.simplefilter("ignore")
            quantised = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
            self._packed = torch.ops.quantized.linear_prepack(quantised, bias)

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`."""
        # Without VNNI a CPU adds products in 16 bits, which 7-bit inputs cannot overflow.
        output: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, reduce_range=True)
        return output


def convert(model: _Model, precision: Precision) -> _Model:
    """Change a MuseFormer's weights in place, and return it.

    Raises:
        InputError: no such precision, or int8 for a model on a GPU or with a PyTorch that cannot calculate with it.
    """
    if precision == "bfloat16":
        return model.to(torch.bfloat16)
    if precision == "int8":
        _quantise(model)
    elif precision != "float32":
        raise InputError(f"the precision of weights must be one of {', '.join(PRECISIONS)}, received {precision!r}")
    return model


def autocast(device: torch.device) -> torch.autocast:
    """A context in which products are in bfloat16 where the device is made for it: else a CPU takes nine times as long.

    Weights stay in float32. float16 would not do: what keeps a root's gradient finite is 0 in it.
    """
    if device.type == "cpu":
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions do not tell
        pays = capabilities.get("avx512_bf16", False)
    else:
        pays = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)


def _quantise(model: nn.Module) -> None:
    device = next(model.parameters()).device
    if device.type != "cpu" or "fbgemm" not in torch.backends.quantized.supported_engines:
        raise InputError(
            f"int8 weights need an x86 CPU with PyTorch's fbgemm, received {device} with "
            f"{torch.backends.quantized.supported_engines}: take float32, or bfloat16 on a GPU"
        )
    made: dict[nn.Module, Int8Linear] = {}
    for name, linear in list(model.named_modules(remove_duplicate=False)):  # both streams name the same modules
        if isinstance(linear, nn.Linear) and name.endswith(_QUANTISED):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made.setdefault(linear, Int8Linear(linear)))
