import pytest
import torch

from guardcore import GuardcoreError
from guardcore_plugins.devices import pick_device


def test_an_absent_cuda_device_is_told_with_the_option_that_names_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        GuardcoreError, match=r"^backbone\.device: .* has 1 CUDA device\(s\), received 'cuda:3'"
    ):
        pick_device("cuda:3", "backbone.device")
    assert str(pick_device("cuda", "device")) == "cuda"
    assert str(pick_device("cuda:0", "device")) == "cuda:0"


@pytest.mark.parametrize(("present", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one(monkeypatch, present, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(present))
    assert str(pick_device("auto", "device")) == expected


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_of_several_processes_has_its_own_gpu(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)  # as accelerate has set it
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert str(pick_device(name, "device")) == "cuda:3"
    assert str(pick_device("cuda:1", "device")) == "cuda:1"
