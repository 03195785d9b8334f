"""The same networks with fewer and larger kernels, for GPUs where a small batch is bound by launches, not by work.

BERT: one product for query, key and value; bias and GELU in the product's epilogue (tanh form, as cuBLASLt has it);
residual and layer norm in one kernel; no mask where nothing is padded. ResNet: batch norms folded into the
convolutions (Jacob et al., 2018, section 3.2), bias, residual and ReLU in cuDNN's epilogues, pixels padded to the 8
channels that tensor cores want. Runs on the CPU too, with the plain operators, so that it can be checked anywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

EPSILON = 1e-12  # BERT's layer norms
STEM_CHANNELS = 8


def add_layer_norm(x: Tensor, residual: Tensor, norm: nn.LayerNorm) -> Tensor:
    """layer_norm(x + residual) over the last dimension; one kernel on a GPU."""
    if x.is_cuda:
        from handlers.kernels import add_layer_norm as fused

        return fused(x, residual, norm.weight, norm.bias, norm.eps)
    return norm(x + residual)


class LeanLayer(nn.Module):
    """One BERT encoder layer, post-norm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.attention_norm, self.norm = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = _attention(query, key, value, mask).transpose(1, 2).reshape(batch, length, width)
        x = add_layer_norm(self.out(mixed), x, self.attention_norm)
        return add_layer_norm(self.down(self._gelu_up(x)), x, self.norm)

    def _gelu_up(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return F.gelu(self.up(x))
        flat = torch._addmm_activation(self.up.bias, x.flatten(0, 1), self.up.weight.t(), use_gelu=True)
        return flat.view(*x.shape[:2], -1)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None and query.is_cuda:
        # Left to choose, PyTorch takes cuDNN's kernel, which is slower on sequences this short.
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(query, key, value)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class LeanBert(nn.Module):
    """BERT for "embedding" or "fill-mask"; the same inputs and outputs as in handlers.architectures.

    ``attention_mask`` may be None: nothing is padded.
    """

    def __init__(self, task: str, spec: dict[str, int]) -> None:
        super().__init__()
        self.task = task
        width = spec["width"]
        self.words = nn.Embedding(spec["vocabulary"], width)
        self.positions = nn.Embedding(spec["positions"], width)  # with the type embedding of segment 0 added
        self.norm = nn.LayerNorm(width, EPSILON)
        self.layers = nn.ModuleList(LeanLayer(width, spec["heads"], spec["inner"]) for _ in range(spec["layers"]))
        if task == "fill-mask":
            self.transform, self.head_norm = nn.Linear(width, width), nn.LayerNorm(width, EPSILON)
            self.decoder = nn.Linear(width, spec["vocabulary"])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, mask_position: Tensor | None = None) -> Tensor:
        length = input_ids.size(1)
        positions = self.positions.weight[:length].expand(input_ids.size(0), -1, -1)
        x = add_layer_norm(self.words(input_ids), positions.contiguous(), self.norm)
        mask = None if attention_mask is None else attention_mask[:, None, None, :].to(torch.bool)
        for layer in self.layers:
            x = layer(x, mask)
        return self._embed(x, attention_mask) if self.task == "embedding" else self._fill(x, mask_position)

    def _embed(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is None:
            return F.normalize(x.float().mean(dim=1), dim=1)
        weights = attention_mask.unsqueeze(-1).to(torch.float32)
        return F.normalize((x.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9), dim=1)

    def _fill(self, x: Tensor, mask_position: Tensor | None) -> Tensor:
        assert mask_position is not None
        picked = x.gather(1, mask_position.view(-1, 1, 1).expand(-1, 1, x.size(2))).squeeze(1)
        return self.decoder(self.head_norm(F.gelu(self.transform(picked))))


def lean_bert(task: str, wrapper: nn.Module) -> tuple[LeanBert, dict[str, int]]:
    """A LeanBert with the weights of an architectures wrapper, and the spec that builds it again."""
    config, encoder = wrapper.encoder.config, wrapper.encoder
    spec = {
        "width": config.hidden_size, "heads": config.num_attention_heads, "inner": config.intermediate_size,
        "layers": config.num_hidden_layers, "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }  # fmt: skip
    lean = LeanBert(task, spec)
    embeddings = encoder.embeddings
    state = {
        "words.weight": embeddings.word_embeddings.weight,
        "positions.weight": embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0],
        **_pair("norm", embeddings.LayerNorm),
    }
    for index, layer in enumerate(encoder.encoder.layer):
        state |= {f"layers.{index}.{name}": tensor for name, tensor in _layer_state(layer).items()}
    if task == "fill-mask":
        head = wrapper.head.predictions
        state |= _pair("transform", head.transform.dense) | _pair("head_norm", head.transform.LayerNorm)
        state |= {"decoder.weight": head.decoder.weight, "decoder.bias": head.decoder.bias}
    lean.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()})
    return lean.eval(), spec


def _pair(name: str, module: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _layer_state(layer: Any) -> dict[str, Tensor]:
    own = layer.attention.self
    parts = (own.query, own.key, own.value)
    return {
        "qkv.weight": torch.cat([part.weight for part in parts]),
        "qkv.bias": torch.cat([part.bias for part in parts]),
        **_pair("out", layer.attention.output.dense),
        **_pair("attention_norm", layer.attention.output.LayerNorm),
        **_pair("up", layer.intermediate.dense),
        **_pair("down", layer.output.dense),
        **_pair("norm", layer.output.LayerNorm),
    }


class LeanResNet(nn.Module):
    """ResNet with folded batch norms; forward(pixels), uint8 [N, H, W, 3], returns logits, as ImageClassifier does."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.stem = _convolution(spec["stem"])
        self.blocks = nn.ModuleList(LeanBlock(block) for block in spec["blocks"])
        self.classifier = nn.Linear(spec["features"], spec["classes"])
        self.register_buffer("scale", torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.max_pool2d(_relu_convolution(self._normalise(pixels), self.stem), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((2, 3)))

    def _normalise(self, pixels: Tensor) -> Tensor:
        if pixels.is_cuda:
            from handlers.kernels import normalise

            return normalise(pixels, self.scale, self.shift, STEM_CHANNELS, self.stem.weight.dtype)
        images = pixels.to(self.scale.dtype) * self.scale + self.shift
        return F.pad(images, (0, STEM_CHANNELS - 3)).permute(0, 3, 1, 2)


class LeanBlock(nn.Module):
    """A basic or bottleneck block: convolutions with ReLU, the last one adding the shortcut first."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(each) for each in spec["convolutions"])
        self.shortcut = _convolution(spec["shortcut"]) if spec["shortcut"] else None

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        *first, last = self.convolutions
        for each in first:
            x = _relu_convolution(x, each)
        if x.is_cuda:
            c = last
            return torch.cudnn_convolution_add_relu(
                x, c.weight, kept, 1.0, c.bias, c.stride, c.padding, c.dilation, c.groups
            )
        return F.relu(last(x) + kept)


def _relu_convolution(x: Tensor, c: nn.Conv2d) -> Tensor:
    if x.is_cuda:
        return torch.cudnn_convolution_relu(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
    return F.relu(c(x))


def _convolution(spec: list[int]) -> nn.Conv2d:
    inputs, outputs, kernel, stride, padding = spec
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


def lean_resnet(wrapper: nn.Module) -> tuple[LeanResNet, dict[str, Any]]:
    """A LeanResNet with the weights of an ImageClassifier around a torchvision ResNet, and its spec."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = wrapper.network
    stem = fuse_conv_bn_eval(network.conv1, network.bn1)
    padded = nn.Conv2d(STEM_CHANNELS, stem.out_channels, stem.kernel_size, stem.stride, stem.padding)
    padded.weight = nn.Parameter(F.pad(stem.weight, (0, 0, 0, 0, 0, STEM_CHANNELS - 3)))
    padded.bias = stem.bias
    blocks = []
    for block in (each for stage in (network.layer1, network.layer2, network.layer3, network.layer4) for each in stage):
        pairs = [
            (getattr(block, f"conv{i}"), getattr(block, f"bn{i}")) for i in (1, 2, 3) if hasattr(block, f"conv{i}")
        ]
        shortcut = fuse_conv_bn_eval(*block.downsample) if block.downsample is not None else None
        blocks.append(([fuse_conv_bn_eval(*pair) for pair in pairs], shortcut))
    spec = {
        "stem": _spec(padded),
        "blocks": [{"convolutions": [_spec(c) for c in convolutions], "shortcut": _spec(s) if s is not None else None}
                   for convolutions, s in blocks],
        "features": network.fc.in_features, "classes": network.fc.out_features,
    }  # fmt: skip
    lean = LeanResNet(spec)
    lean.stem, lean.classifier = padded, network.fc
    lean.scale, lean.shift = wrapper.scale.flatten(), wrapper.shift.flatten()
    for target, (convolutions, shortcut) in zip(lean.blocks, blocks, strict=True):
        target.convolutions = nn.ModuleList(convolutions)
        target.shortcut = shortcut
    return lean.eval(), spec


def _spec(c: nn.Conv2d) -> list[int]:
    return [c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]]


def build(task: str, spec: dict[str, Any]) -> nn.Module:
    """An empty lean model of ``spec``, to load a state dict into."""
    return (LeanResNet(spec) if task == "classification" else LeanBert(task, spec)).eval()
