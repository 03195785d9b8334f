"""The operations of fp8.py on a GPU: cuBLASLt's products of e4m3, and kernels that write e4m3 beside fp16.

The kernel that computes a product's input writes it as e4m3 itself. A separate one for that would cost more time than
some of the products save.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean import fp8, kernels
from handlers.lean.fp8_products import multiply_gelu, tiles_divide
from handlers.lean.launch import launch, wait_for_previous_kernel
from handlers.lean.norms import add_norm, in_range
from handlers.lean.products import tanh_gelu

if TYPE_CHECKING:
    from handlers.lean.encoder import LeanLayer

BLOCK = 4096  # numbers that a program of _quantise takes
# cuBLASLt adds the products of e4m3 in the tensor cores' own precision, about 14 bits. 4,096 rows of BERT-base's four
# products took 16.8, 7.5, 21.5 and 15.9 us on an H200, and 23.7, 9.8, 25.0 and 17.9 us with sums in fp32.
FAST = True

attention = kernels.attention

_scales: WeakKeyDictionary[nn.Linear, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def _on_gpu(layer: nn.Linear, scale: float, input_scale: float) -> tuple[Tensor, Tensor]:
    """Both scales as float32 tensors. Made once per layer, since a capture may not copy from the host."""
    if layer not in _scales:
        device = layer.weight.device
        _scales[layer] = torch.tensor(scale, device=device), torch.tensor(input_scale, device=device)
    return _scales[layer]


@triton.jit
def _quantise(x, out, inverse, count, block: tl.constexpr, gelu: tl.constexpr, pdl: tl.constexpr):
    """``x``, with ``gelu`` through GELU, times ``inverse``, into ``out``, e4m3."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    wait_for_previous_kernel(pdl)
    value = tl.load(x + at, at < count, 0.0).to(tl.float32)
    if gelu:
        value = tanh_gelu(value, pdl)
    tl.store(out + at, in_range(value, inverse).to(out.dtype.element_ty), at < count)


def quantise(x: Tensor, scale: float | None, gelu: bool = False) -> Tensor:
    """See fp8.quantise; with ``gelu``, of GELU of ``x``."""
    if scale is None:
        return x
    out = torch.empty(x.shape, device=x.device, dtype=fp8.E4M3)
    launch(
        _quantise, (triton.cdiv(x.numel(), BLOCK),), x.device, x, out, 1 / scale, x.numel(), BLOCK, gelu, num_warps=8
    )
    return out


def linear(x: Tensor, layer: nn.Linear, scale: float | None) -> Tensor:
    """See fp8.linear."""
    if scale is None:
        return kernels.linear(x, layer)
    weight, weight_scale = fp8.narrowed(layer)
    of_weight, of_input = _on_gpu(layer, weight_scale, scale)
    found = torch._scaled_mm(
        x.flatten(0, -2), weight.t(), scale_a=of_input, scale_b=of_weight, bias=layer.bias, out_dtype=torch.float16,
        use_fast_accum=FAST,
    )  # fmt: skip
    return found.view(*x.shape[:-1], layer.out_features)


@cache
def fuses(device: torch.device) -> bool:
    """Whether ``device`` is a Hopper: there, one kernel for the up-projection and what follows was measured."""
    return torch.cuda.get_device_capability(device)[0] == 9


def linear_gelu(x: Tensor, layer: LeanLayer, scale: float | None, later: float | None) -> Tensor:
    """See fp8.linear_gelu; GELU is the tanh form."""
    if scale is not None and later is not None:
        if not (fuses(x.device) and tiles_divide(x.numel() // x.size(-1), layer.up)):
            return quantise(linear(x, layer.up, scale), later, gelu=True)
        weight, weight_scale = fp8.narrowed(layer.up)
        out = torch.empty(*x.shape[:-1], layer.up.out_features, device=x.device, dtype=x.dtype)
        multiply_gelu(x.flatten(0, -2), weight, layer.up.bias, scale * weight_scale, out.flatten(0, -2), 1 / later)
        return out
    if scale is not None:
        return nn.functional.gelu(linear(x, layer.up, scale), approximate="tanh")
    flat = torch._addmm_activation(layer.up.bias, x.flatten(0, -2), layer.up.weight.t(), use_gelu=True)
    return quantise(flat.view(*x.shape[:-1], layer.up.out_features), later)


def linear_add_norm(
    x: Tensor, layer: nn.Linear, scale: float | None, residual: Tensor, norm: nn.LayerNorm, later: float | None
) -> tuple[Tensor, Tensor]:
    """See fp8.linear_add_norm."""
    product = linear(x, layer, scale)
    if later is None:
        found = add_norm(product, layer.bias, 1, residual, norm)
        return found, found
    narrow = torch.empty(residual.shape, device=residual.device, dtype=fp8.E4M3)
    return add_norm(product, layer.bias, 1, residual, norm, narrow, 1 / later), narrow
