"""Both bodies of a request: what goes in comes out, and what is no request is refused."""

import base64
import json
import pickle
import zlib
from io import BytesIO

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from guardcore import Prompt
from guardcore_plugins.serving.formats import (
    CONTENT_TYPES,
    Limits,
    RefusedRequestError,
    decode,
    encode,
)
from guardcore_plugins.serving.protocol import ask

PROMPTS = (Prompt("a “red” 圆", {"tag": "colors", "include": [{"class": "cup"}]}), Prompt(""))
SMALL = Limits(body=1, side=64)


def question(height=5, width=7):
    generator = torch.Generator().manual_seed(0)
    return ask(torch.rand(2, 3, height, width, generator=generator), PROMPTS)


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_a_question_comes_out_as_it_went_in(form):
    asked = question()
    read = decode(CONTENT_TYPES[form], encode(asked, form), SMALL)
    assert (read.request, read.ids, read.prompts) == (asked.request, asked.ids, asked.prompts)
    if form == "safetensors":
        assert torch.equal(read.images, asked.images)
    else:
        assert torch.equal(read.images, (asked.images * 255).round() / 255)


def test_a_png_body_is_json_that_anybody_can_read():
    asked = question()
    tree = json.loads(encode(asked, "png"))
    assert tree["request"] == asked.request
    entry = tree["images"][0]
    assert (entry["id"], entry["prompt"], entry["metadata"]) == (
        asked.ids[0],
        PROMPTS[0].text,
        PROMPTS[0].metadata,
    )
    picture = Image.open(BytesIO(base64.b64decode(entry["png"])))
    assert (picture.format, picture.size) == ("PNG", (7, 5))


def test_equal_images_still_have_ids_of_their_own():
    same = torch.zeros(3, 3, 2, 2)
    asked = ask(same, [Prompt("x")] * 3)
    assert len(set(asked.ids)) == 3
    assert len({name.partition("-")[2] for name in asked.ids}) == 1
    assert ask(same, [Prompt("x")] * 3).request != asked.request


def picture(width, height, colour="red"):
    file = BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def bomb(side):
    """A PNG of ``side``² pixels in a few kB, cut off after its header."""
    row = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + row + zlib.crc32(row).to_bytes(4, "big")
    return base64.b64encode(head + (0).to_bytes(4, "big") + b"IDAT").decode()


def body(*pngs, **changes):
    entries = [{"id": f"i{n}", "prompt": "x", "png": png} for n, png in enumerate(pngs)]
    return json.dumps({"request": "r", "images": entries, **changes})


def entry(**changes):
    return {"id": "i", "prompt": "x", "png": picture(2, 2), **changes}


BAD_JSON = {
    "no json": (b"{", 422, "EOF"),
    "no images": (body(), 422, "images: "),
    "no request id": (body(picture(2, 2), request=""), 422, "request: "),
    "no prompt": (body(images=[{"id": "i"}]), 422, "images.0.prompt: "),
    "a number for a prompt": (body(images=[entry(prompt=1)]), 422, "images.0.prompt: "),
    "metadata in a list": (body(images=[entry(metadata=[])]), 422, "images.0.metadata: "),
    "deep metadata": (
        b'{"request": "r", "images": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        422,
        "recursion",
    ),
    "the same id": (body(images=[entry(), entry()]), 422, "the same id"),
    "a long id": (body(images=[entry(id="i" * 201)]), 422, "images.0.id: "),
    "two sizes": (body(picture(2, 2), picture(2, 3)), 422, "images.1: all images must have one"),
    "no base64": (body("!!!"), 422, "images.0.png is no PNG"),
    "a jpeg": (body(base64.b64encode(b"\xff\xd8\xff\xe0" * 9).decode()), 422, "is no PNG"),
    "half a png": (body(picture(60, 60)[:-40]), 422, "is broken|is no PNG"),
    "too wide": (body(picture(65, 2)), 413, "images of 2x65 pixels; the limit is 64 a side"),
    "a bomb": (body(bomb(9_000)), 413, "9000x9000 pixels"),
    "a large bomb": (body(bomb(30_000)), 413, "images.0: .*exceeds limit"),
    "too many": (body(*[picture(64, 64)] * 22), 413, "1 MiB as float32; the limit is 1 MiB"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_json_that_is_no_request_is_refused(case):
    content, status, message = BAD_JSON[case]
    content = content.encode() if isinstance(content, str) else content
    with pytest.raises(RefusedRequestError, match=message) as caught:
        decode("application/json; charset=utf-8", content, SMALL)
    assert caught.value.status == status


def tensors(images=None, header=None, **more):
    images = torch.zeros(1, 3, 2, 2) if images is None else images
    entries = [{"id": f"i{n}", "prompt": "x"} for n in range(len(images))]
    text = json.dumps({"request": "r", "images": entries})
    return save({"images": images, **more}, metadata=header or {"request": text})


BAD_TENSORS = {
    "empty": (b"", 422, "no safetensors"),
    "a pickle": (pickle.dumps({"images": [1]}), 422, "no safetensors"),
    "cut short": (tensors()[:-1], 422, "no safetensors"),
    "another tensor": (save({"pixels": torch.zeros(1)}), 422, "no safetensors"),
    "no metadata": (save({"images": torch.zeros(1, 3, 2, 2)}), 422, "no safetensors"),
    "no entries": (tensors(header={"request": '{"request": "r"}'}), 422, "images: Field required"),
    "grey": (tensors(torch.zeros(1, 1, 2, 2)), 422, r"received torch.float32 \[1, 1, 2, 2\]"),
    "half": (tensors(torch.zeros(1, 3, 2, 2).half()), 422, "received torch.float16"),
    "nan": (tensors(torch.full((1, 3, 2, 2), torch.nan)), 422, "not finite"),
    "no pixels": (tensors(torch.zeros(1, 3, 0, 2)), 422, "empty"),
    "too wide": (tensors(torch.zeros(1, 3, 2, 65)), 413, "2x65"),
    "more entries": (
        tensors(header={"request": json.dumps({"request": "r", "images": [entry()] * 2})}),
        422,
        "2 entries for 1 images",
    ),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_safetensors_that_are_no_request_are_refused(case):
    content, status, message = BAD_TENSORS[case]
    with pytest.raises(RefusedRequestError, match=message) as caught:
        decode(CONTENT_TYPES["safetensors"], content, SMALL)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/octet-stream", "application/x-pickle"]
)
def test_any_other_type_is_refused(kind):
    with pytest.raises(RefusedRequestError, match="content type must be") as caught:
        decode(kind, pickle.dumps(1), SMALL)
    assert caught.value.status == 415
