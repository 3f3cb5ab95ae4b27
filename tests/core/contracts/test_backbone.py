"""Each law of a backbone, and the toy backbone with the fault that breaks it and no law before."""

import contextlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from guardcore import Condition, Schedule
from guardcore.testing import check_backbone
from guardcore.testing.backbone_model import LAWS as MODEL
from guardcore.testing.backbone_training import LAWS as TRAINING
from laws import broken
from toy import ToyBackbone, ToyOptions


class Toy(ToyBackbone):
    def __init__(self, **options):
        super().__init__(ToyOptions(**options))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_toy_passes_and_is_left_as_it_was(dtype):
    toy = Toy(dtype=dtype)
    check_backbone(toy, height=32, width=48)
    assert torch.equal(toy.target, torch.zeros(3))
    assert toy.target.grad is None


class Flat(Toy):
    def latent_shape(self, height, width):
        return (3, height // 8, 0)


class Impatient(Toy):
    def schedule(self, steps, height, width):
        return super().schedule(max(steps - 1, 1), height, width)


class Endless(Toy):
    def schedule(self, steps, height, width):
        return Schedule(torch.linspace(1, 0.1, steps + 1))


class Forgetful(Toy):
    def encode(self, prompts, height, width):
        return Condition(super().encode(prompts, height, width).tensors, 64, 64)


class Shared(Toy):
    """One embedding for all prompts, without a row a prompt."""

    def encode(self, prompts, height, width):
        return Condition({"shift": torch.zeros(1, 4)}, height, width)


class Packed(Toy):
    def velocity(self, x, sigma, condition):
        return super().velocity(x, sigma, condition).flatten(2)


class Infinite(Toy):
    def velocity(self, x, sigma, condition):
        return super().velocity(x, sigma, condition) / (sigma - sigma.max())[:, None, None, None]


class Careless(Toy):
    def velocity(self, x, sigma, condition):
        velocity = super().velocity(x, sigma, condition)
        x.add_(1e-3)
        return velocity


class OneSigma(Toy):
    """The noise level averaged over rows of different steps."""

    def velocity(self, x, sigma, condition):
        return super().velocity(x, sigma.mean().expand_as(sigma), condition)


class Padded(Toy):
    """An embedding that shows how long the longest prompt beside it is."""

    def encode(self, prompts, height, width):
        longest = max(len(prompt.text) for prompt in prompts)
        tensors = {"length": torch.full((len(prompts),), longest / 100)}
        return Condition(tensors, height, width)

    def velocity(self, x, sigma, condition):
        shift = condition.tensors["length"][:, None, None, None]
        return super().velocity(x, sigma, condition) + shift


class Small(Toy):
    def decode(self, x, condition):
        return (x / 2 + 0.5).clamp(0, 1)


class Unclamped(Toy):
    def decode(self, x, condition):
        return (super().decode(x, condition) - 0.5) * 2


class Stretched(Toy):
    """Brightness by the batch's brightest image."""

    def decode(self, x, condition):
        images = super().decode(x, condition)
        return images * torch.linspace(1, 0.5, len(images))[:, None, None, None]


class Stuck(Toy):
    @contextlib.contextmanager
    def guidance(self, scale):
        before, self.scale = self.scale, scale
        with torch.no_grad():
            self.target += 0.1
        yield
        self.scale = before
        with torch.no_grad():
            self.target -= 0.1

    def velocity(self, x, sigma, condition):
        return super().velocity(x, sigma, condition) * self.scale


class Absorbing(Toy):
    """Preparing changes what a text means."""

    texts = 0

    def prepare(self, texts):
        self.texts += len(list(texts))

    def encode(self, prompts, height, width):
        lengths = torch.tensor([float(len(prompt.text) + self.texts) for prompt in prompts])
        return Condition({"length": lengths}, height, width)

    def velocity(self, x, sigma, condition):
        shift = condition.tensors["length"][:, None, None, None] / 100
        return super().velocity(x, sigma, condition) + shift


class Blockless(Toy):
    def blocks(self):
        return []


class Fresh(Toy):
    def trainable(self):
        return {"target": nn.Parameter(self.target.detach())}


class Frozen(Toy):
    def trainable(self):
        return {"target": self.target.requires_grad_(False)}


class Half(Toy):
    def __init__(self):
        super().__init__()
        self.target = nn.Parameter(self.target.detach().bfloat16())


class Empty(Toy):
    def trainable(self):
        return {}


class Detached(Toy):
    @torch.no_grad()
    def velocity(self, x, sigma, condition):
        return super().velocity(x, sigma, condition)


class Beside(Toy):
    """What is listed as trained is not what the velocity depends on."""

    def __init__(self):
        super().__init__()
        self.other = nn.Parameter(torch.zeros(3))

    def trainable(self):
        return {"other": self.other}


class NoReference(Toy):
    @contextlib.contextmanager
    def reference(self):
        yield


class OneWay(Toy):
    @contextlib.contextmanager
    def reference(self):
        self._trained = False
        yield
        self._trained = True


class Lossy(Toy):
    def save_adapter(self, directory):
        kept = self.target.data
        self.target.data = kept.to(torch.float8_e4m3fn).float()
        super().save_adapter(directory)
        self.target.data = kept


class Renewing(Toy):
    def load_adapter(self, directory):
        super().load_adapter(directory)
        self.target = nn.Parameter(self.target.detach())


class Rebasing(Toy):
    """What is loaded becomes the reference."""

    base = torch.zeros(3)

    @contextlib.contextmanager
    def reference(self):
        kept = self.target.data
        self.target.data = self.base
        try:
            yield
        finally:
            self.target.data = kept

    def load_adapter(self, directory):
        super().load_adapter(directory)
        self.base = self.target.detach().clone()


class AnyFormat(Toy):
    def export(self, directory, to):
        return "load it somehow"


BROKEN = [
    (Flat, "latent-shape", "(3, 8, 0)"),
    (Impatient, "schedule-ends-in-zero", "2 steps were asked for, the schedule has 1"),
    (Endless, "schedule-ends-in-zero", "fall from at most 1 to exactly 0"),
    (Forgetful, "a-row-a-prompt", "asked for 64×96 pixels, the condition says 64×64"),
    (Shared, "a-row-a-prompt", "shift must have a row a prompt, 2, has [1, 4]"),
    (Packed, "velocity-like-latents", "expected [2, 3, 8, 12] as the latents"),
    (Infinite, "velocity-like-latents", "expected finite"),
    (Careless, "velocity-like-latents", "changed in place"),
    (lambda: Toy(dropout=0.1), "deterministic", "a velocity, computed twice"),
    (OneSigma, "rows-independent", "row 0 by itself"),
    (Padded, "conditions-join", "one by one and joined"),
    (Small, "images-in-unit-interval", "received torch.float32 [2, 3, 8, 12]"),
    (Unclamped, "images-in-unit-interval", "received -1 to 1"),
    (Stretched, "images-in-order", "in reverse order"),
    (Stuck, "guidance-comes-back", "after an error within guidance"),
    (Absorbing, "prepare-changes-nothing", "after prepare(texts)"),
    (Blockless, "blocks-are-modules", "received []"),
    (Fresh, "stable-parameters", "other names or other parameters"),
    (Frozen, "stable-parameters", "target asks for no gradient"),
    (Half, "stable-parameters", "bfloat16, in which a small step rounds away"),
    (Empty, "stable-parameters", "nothing to train"),
    (Detached, "gradient-flows", "detached"),
    (Beside, "gradient-flows", "none of 1 parameters"),
    (lambda: Toy(nan_gradient_from=1), "gradient-flows", "of target is not finite"),
    (NoReference, "reference-is-the-base", "the reference after some training"),
    (OneWay, "reference-is-the-base", "after an error in reference()"),
    (Lossy, "adapter-round-trip", "after save_adapter and load_adapter"),
    (Renewing, "adapter-round-trip", "the optimiser holds the old ones"),
    (Rebasing, "adapter-round-trip", "the reference after load_adapter"),
    (AnyFormat, "export-refuses", "must raise a GuardcoreError"),
]


@pytest.mark.parametrize(("backbone", "law", "reason"), BROKEN)
def test_a_backbone_that_breaks_one_law_is_told_which(backbone, law, reason):
    error = broken(check_backbone, backbone(), height=64, width=96)
    assert (error.law, reason in error.reason) == (law, True), error


def test_every_law_has_a_backbone_that_breaks_it():
    laws = {law.__name__.replace("_", "-") for law in (*MODEL, *TRAINING)}
    assert laws == {law for _, law, _ in BROKEN}


def test_a_class_without_the_methods_is_told_which_are_missing():
    class Bare:
        velocity = decode = encode = print

    error = broken(check_backbone, Bare())
    assert error.law == "methods"
    assert error.reason.startswith("Bare has no method schedule, latent_shape, trainable")


def test_a_broken_law_leaves_the_weights_as_they_were():
    toy = NoReference()
    broken(check_backbone, toy)
    assert torch.equal(toy.target, torch.zeros(3))


def test_velocities_in_half_precision_may_differ_with_the_batch():
    class Rounding(Toy):
        def velocity(self, x, sigma, condition):
            velocity = super().velocity(x, sigma, condition)
            return velocity * (1 + 5e-3 * (len(x) - 1))  # 1e-2, as bf16 with another batch shape

    check_backbone(Rounding(dtype="bfloat16"))
    assert broken(check_backbone, Rounding()).law == "rows-independent"


def test_a_lora_whose_second_factor_is_zero_passes():
    class LowRank(Toy):
        """target = B·A with B = 0: A has no gradient at the start."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3, 2))
            self.target = None

        def velocity(self, x, sigma, condition):
            self.target = self.b @ self.a
            return super().velocity(x, sigma, condition)

        def trainable(self):
            return {"a": self.a, "b": self.b}

        def save_adapter(self, directory):
            save_file({"a": self.a.data, "b": self.b.data}, directory / "lora.safetensors")

        def load_adapter(self, directory):
            for name, data in load_file(directory / "lora.safetensors").items():
                getattr(self, name).data.copy_(data)

    check_backbone(LowRank())
