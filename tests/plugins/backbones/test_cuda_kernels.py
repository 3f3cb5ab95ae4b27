"""torch's own CUDA kernels that FLUX's and SD3's backward passes rest on, against float64 on a CPU.

In a process each, because an illegal access ends the process' use of its device. They say which
kernel is at fault where a model's gradient is not finite.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PREAMBLE = """
import torch
from torch.nn import functional
torch.manual_seed(0)
def gradients(function, tensors, dtype, device):
    leaves = [t.to(device, dtype).requires_grad_(needs) for t, needs in tensors]
    out = function(*leaves)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    found = torch.autograd.grad(out, [t for t in leaves if t.requires_grad], pull)
    return [out.detach(), *found]
def compared(function, *tensors, dtype=torch.bfloat16, tolerance=0.02):
    exact = gradients(function, tensors, torch.float64, "cpu")
    half = gradients(function, tensors, dtype, "cuda")
    torch.cuda.synchronize()
    for place, (e, h) in enumerate(zip(exact, half)):
        distance = float((h.double().cpu() - e).norm() / e.norm())
        assert distance < tolerance, f"result {place}: distance {distance}"
q, k, v = (torch.randn(2, 96, 4, HEAD) for _ in range(3))
"""

CASES = {
    "rms-norm": "compared(lambda x, w: functional.rms_norm(x, (HEAD,), w, 1e-6), "
    "(q, True), (torch.ones(HEAD), False))",
    "rms-norm-trained": "compared(lambda x, w: functional.rms_norm(x, (HEAD,), w, 1e-6), "
    "(q, True), (torch.ones(HEAD), True))",
    "rms-norm-of-joined": "compared(lambda x, y, w: torch.cat([functional.rms_norm(t, (HEAD,), w, "
    "1e-6) for t in (x, y)], 1), (q, True), (k, True), (torch.ones(HEAD), False))",
    "layer-norm": "compared(lambda x: functional.layer_norm(x, (HEAD,)), (q, True))",
    "rotation": """
from diffusers.models.embeddings import apply_rotary_emb
angle = torch.linspace(0, 3, 96)[:, None].expand(96, HEAD).double()
compared(lambda x: apply_rotary_emb(x, (angle.cos().to(x), angle.sin().to(x)), sequence_dim=1),
         (q, True))
""",
    "attention": "compared(lambda *t: functional.scaled_dot_product_attention("
    "*(x.transpose(1, 2) for x in t)).transpose(1, 2).flatten(2), *((t, True) for t in (q, k, v)))",
}


@pytest.mark.gpu
@pytest.mark.parametrize("head", [16, 64, 128])
@pytest.mark.parametrize("case", CASES)
def test_a_kernels_gradient_is_that_of_float64(case, head):
    code = (PREAMBLE + CASES[case]).replace("HEAD", str(head))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["clip", "flux"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_models_gradient_on_cuda_is_that_on_a_cpu(model, dtype, make, noise, perturb):
    from guardcore import Prompt

    def learnt(device):
        backbone = make(model, device=device, dtype=dtype if device == "cuda" else "float32")
        perturb(backbone)
        x, sigma = noise(backbone, 2, 64, 64), [0.8, 0.4]
        condition = backbone.encode([Prompt("a red circle"), Prompt("two blue squares")], 64, 64)
        velocity = backbone.velocity(x, x.new_tensor(sigma), condition)
        velocity.float().square().mean().backward()
        return [parameter.grad.double().cpu() for parameter in backbone.trainable().values()]

    for exact, found in zip(learnt("cpu"), learnt("cuda"), strict=True):
        assert (found - exact).norm() <= (1e-3 if dtype == "float32" else 0.2) * exact.norm()
