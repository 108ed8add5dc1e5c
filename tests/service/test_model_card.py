"""The model card for readers."""

import pytest

from service.default_model import embedded_model
from service.model_card import CardExtras, card_markdown, read_card


@pytest.mark.parametrize(
    ("selection", "models"),
    [("bagged", "5 folds, 100 bootstraps each"), ("full", "5 folds, 4 nested splits each")],
)
def test_a_card_says_how_many_models_there_are(selection: str, models: str) -> None:
    card = read_card(embedded_model())
    card["training"]["settings"]["selection"] = selection
    assert f"| models | {models}, selection {selection}" in card_markdown(card, CardExtras())
