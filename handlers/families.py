"""The families of text networks, and the differences between their arguments.

A family's name is ``model_type`` in the checkpoint's config.json. This module does not import torch, since planning
reads it without torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of text networks.

    ``positions_before`` is the number of rows in the position table before the first token's row, ``padding_idx + 1``.
    ``token_types``: the network takes token_type_ids. ``plain_mask``: the network takes the attention mask only as
    int64 [N, L]; other networks also take a boolean [N, 1, 1, L]. ``pooler``: the network without a head has a pooling
    layer, which can be left out.
    """

    name: str
    architecture: str  # the prefix of its classes in transformers, "Bert" of BertForMaskedLM
    positions_before: int = 0
    token_types: bool = False
    plain_mask: bool = False
    pooler: bool = False


FAMILIES = {
    family.name: family
    for family in (
        Family("bert", "Bert", token_types=True, pooler=True),
        Family("roberta", "Roberta", positions_before=2, token_types=True, pooler=True),
        Family("xlm-roberta", "XLMRoberta", positions_before=2, token_types=True, pooler=True),
        Family("camembert", "Camembert", positions_before=2, token_types=True, pooler=True),
        Family("distilbert", "DistilBert"),
        Family("mpnet", "MPNet", positions_before=2, plain_mask=True, pooler=True),
        Family("electra", "Electra", token_types=True),
    )
}
