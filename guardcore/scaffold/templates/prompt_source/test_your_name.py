"""The contract, and what a prompt asks for."""

import pytest
from guardcore.testing import check_prompt_source

from guardcore_your_name import YourNameOptions, your_name_source


def test_it_keeps_the_contract() -> None:
    check_prompt_source(your_name_source(YourNameOptions()))


@pytest.mark.parametrize("most", [2, 4, 10])
def test_there_are_12_prompts_for_every_number_of_objects(most: int) -> None:
    prompts = your_name_source(YourNameOptions(most=most))
    assert len({prompt.text for prompt in prompts}) == 12 * (most - 1)
    asked = [prompt.metadata["include"][0]["count"] for prompt in prompts]
    assert all(asked.count(number) == 12 for number in range(2, most + 1))


def test_the_text_and_the_metadata_ask_for_the_same() -> None:
    last = your_name_source(YourNameOptions(most=10))[-1]
    assert last.text == "a photo of ten blue rings"
    assert last.metadata["include"] == [{"class": "ring", "count": 10, "color": "blue"}]
