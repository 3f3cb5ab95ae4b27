import pytest
import torch

from guardcore import Condition


def condition(rows, height=8, names=("text", "pooled")):
    values = torch.tensor([float(row) for row in rows])
    return Condition({name: values[:, None] + place for place, name in enumerate(names)}, height, 8)


def numbers(condition):
    return condition.tensors["text"][:, 0].tolist()


@pytest.mark.parametrize(
    ("index", "rows"),
    [([2, 0], [12.0, 10.0]), (slice(1, 3), [11.0, 12.0]), (torch.tensor([1, 1]), [11.0, 11.0])],
)
def test_rows_are_taken_from_every_tensor_alike(index, rows):
    taken = condition([10, 11, 12]).rows(index)
    assert len(taken) == len(rows)
    assert numbers(taken) == rows
    assert taken.tensors["pooled"][:, 0].tolist() == [row + 1 for row in rows]


def test_joining_the_pieces_gives_the_whole():
    whole = condition(range(5))
    joined = Condition.cat([whole.rows(slice(0, 2)), whole.rows(slice(2, 5))])
    assert numbers(joined) == numbers(whole)
    assert (joined.height, joined.width) == (8, 8)


def test_other_devices_keep_the_rows():
    moved = condition([1, 2]).to("meta")
    assert len(moved) == 2
    assert all(tensor.device.type == "meta" for tensor in moved.tensors.values())


def test_conditions_of_different_sizes_do_not_join():
    with pytest.raises(ValueError, match="different image sizes"):
        Condition.cat([condition([1], height=8), condition([1], height=16)])


def test_conditions_of_different_tensors_do_not_join():
    with pytest.raises(ValueError, match=r"\['pooled', 'text'\] and \['text'\]"):
        Condition.cat([condition([1]), condition([1], names=("text",))])


def test_nothing_does_not_join():
    with pytest.raises(ValueError, match="empty list"):
        Condition.cat([])
