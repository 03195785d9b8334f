"""Compares the numbers of explanations with an independent computation."""

import numpy as np
import pytest
import torch

from handlers.explanations import Path, Target
from handlers.runtimes.torch_captum import CaptumRuntime
from tests.handlers.explanations.explained import PAIR, TEXT, base64_of, explanation, picture


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("body", [{"text": TEXT}, PAIR], ids=["text", "pair"])
def test_attributions_equal_a_sum_of_gradients_by_transformers_alone(service, family, body):
    """Computes gradients in float64 on the straight line from [PAD]s to the text, without this project's code and
    without Captum. One sum has 400 points. Another has the request's number of points at the same places, and has to
    agree to the last digits."""
    points, weights = np.polynomial.legendre.leggauss(50)
    rules = (
        (300, (np.arange(400) + 0.5) / 400, np.full(400, 1 / 400), 1e-2),
        (50, (points + 1) / 2, weights / 2, 1e-4),
    )
    for steps, places, shares, apart in rules:
        found = explanation(service(family), body, steps=steps)
        folder, texts = service(family).checkpoint, list(body.values())
        attributions, value, baseline = summed(folder, texts, found["prediction"]["label"], places, shares)
        ours = np.array([token["attribution"] for token in found["tokens"]])
        assert ours == pytest.approx(attributions, abs=apart * np.abs(attributions).max())
        assert (found["value"], found["baseline_value"]) == pytest.approx((value, baseline), abs=1e-4)


def summed(folder, texts, label, places, shares):
    """(attributions of the tokens except special ones, the label's logit for the text, the logit for the baseline)"""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval().double().requires_grad_(False)
    encoded = tokenizer(*texts, return_tensors="pt", return_special_tokens_mask=True)
    special = encoded.pop("special_tokens_mask")[0].bool()
    ids, column = encoded.pop("input_ids"), network.config.label2id[label]
    embed = network.get_input_embeddings()
    end = embed(ids)
    start = torch.where(special[None, :, None], end, embed(torch.full_like(ids, tokenizer.pad_token_id)))

    def logits(points):
        more = {name: each.expand(len(points), -1) for name, each in encoded.items()}
        return network(inputs_embeds=points, **more).logits[:, column]

    line = (start + torch.tensor(places)[:, None, None] * (end - start)).requires_grad_(True)
    (gradients,) = torch.autograd.grad(logits(line).sum(), line)
    total = (torch.tensor(shares)[:, None, None] * gradients).sum(0, keepdim=True)
    with torch.no_grad():
        value, baseline = logits(torch.cat([end, start])).tolist()
    return ((end - start) * total).sum(-1)[0][~special].numpy(), value, baseline


class Linear(torch.nn.Module):
    """A model with logits that are linear in the pixels, so that the exact attributions are known."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4 * 5 * 3, 2)

    def forward(self, pixels):
        return self.network(pixels.flatten(1).float())


@pytest.mark.parametrize("steps", [1, 7])
def test_attributions_of_a_linear_model_are_exact(steps):
    module = Linear()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 4, 5, 3), dtype=np.uint8)
    baseline = np.full(pixels.shape, 17, np.float32)
    runtime = CaptumRuntime(module, torch.device("cpu"), ["logits"])
    found = runtime.attributions(Path((pixels,), baseline, steps, 3), Target((("logits", (1,)),)), lambda points: None)
    weights = module.network.weight[1].detach().numpy().reshape(4, 5, 3)
    assert found.values == pytest.approx((weights * (pixels[0] - baseline[0])).sum(-1), abs=1e-3)
    assert found.error < 1e-3 and found.relative_error < 1e-4


def test_the_completeness_error_is_the_missing_part_and_falls_with_more_steps(service):
    errors = []
    for steps in (1, 5, 50):
        found = explanation(service("bert"), {"text": TEXT}, steps=steps)
        total = sum(token["attribution"] for token in found["tokens"])
        difference = found["value"] - found["baseline_value"]
        error = found["completeness_error"]
        assert error["absolute"] == pytest.approx(abs(total - difference), abs=1e-5)
        assert error["relative"] == pytest.approx(error["absolute"] / abs(difference))
        errors.append(error["relative"])
    assert errors[0] > 0.01 > 1e-3 > errors[2] and errors[0] > errors[1] > errors[2]


def test_the_attributions_of_an_image_sum_up_to_the_difference(pictures):
    found = explanation(pictures, base64_of(picture()))
    total = np.sum(found["attributions"])
    assert np.shape(found["attributions"]) == tuple(found["shape"]) == (pictures.image.height, pictures.image.width)
    error = found["completeness_error"]
    assert abs(total - (found["value"] - found["baseline_value"])) == pytest.approx(error["absolute"], abs=1e-3)
    assert error["relative"] < 0.05
