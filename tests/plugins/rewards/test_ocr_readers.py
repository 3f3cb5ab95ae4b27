"""Both RapidOCRs on drawn words: what they read, and that they are silent and offline."""

import logging
import socket
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards.ocr import OcrOptions, ocr
from guardcore_plugins.rewards.ocr_readers import RapidReader
from guardcore_plugins.tiny_world.drawing import draw
from guardcore_plugins.tiny_world.scenes import DIGITS, draw_scene

ENGINES = {"rapidocr-onnxruntime": "rapidocr_onnxruntime", "rapidocr": "rapidocr"}


def reader(engine, **options):
    pytest.importorskip(ENGINES[engine])
    return RapidReader(OcrOptions(engine=engine, threads=1, **options))


def as_image(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def drawn(text, side=64, ink=(20, 20, 90), paper=(235, 235, 225)):
    image = Image.new("RGB", (side, side), paper)
    font = ImageFont.load_default(side * 0.4)
    ImageDraw.Draw(image).text((side / 2, side / 2), text, fill=ink, font=font, anchor="mm")
    return as_image(image)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope="module", params=[True, False], ids=["lines", "one line"])
def read(request, engine):
    return reader(engine, detection=request.param)


NUMBERS = ["407", "9", "8231", "55"]


@pytest.mark.parametrize("side", [64, 160])
def test_drawn_digits_are_read(read, side):
    assert read(torch.stack([drawn(number, side) for number in NUMBERS])) == NUMBERS


def test_light_digits_on_dark_are_read(read):
    assert read(drawn("407", ink=(250, 240, 60), paper=(10, 40, 10))[None]) == ["407"]


def test_the_tiny_worlds_numbers_are_read(read):
    rng = np.random.default_rng(9)
    scenes = [draw_scene(rng, DIGITS, "eval") for _ in range(30)]
    texts = read(torch.stack([as_image(draw(rng, scene)) for scene in scenes]))
    assert sum(t == s.digits for t, s in zip(texts, scenes, strict=True)) >= 29


def test_blank_and_noise_hold_no_text(read):
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert read(torch.cat([torch.full((1, 3, 64, 64), 0.5), noise])) == ["", ""]


def test_tiny_and_oblong_images_are_read_without_error(read):
    for shape in [(1, 3, 1, 1), (1, 3, 8, 200), (1, 3, 200, 8)]:
        assert read(torch.full(shape, 0.2)) == [""]


def test_a_text_does_not_depend_on_its_batch(read):
    noise = 0.1 * torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    images = torch.stack([drawn(number) for number in NUMBERS]) + noise
    assert read(images) == [read(image[None])[0] for image in images]


@pytest.mark.parametrize("detection", [True, False])
def test_what_is_read_with_less_confidence_than_asked_is_dropped(engine, detection):
    noise = 0.2 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    image = (drawn("407") + noise).clamp(0, 1)[None]
    lax, strict = (reader(engine, detection=detection, confidence=c)(image) for c in (0.5, 1.0))
    assert [text.strip() for text in lax] == ["407"]
    assert strict == [""]


@pytest.mark.parametrize("detection", [True, False])
def test_texts_and_their_order_do_not_depend_on_the_number_of_workers(engine, detection):
    images = torch.stack([drawn(str(number)) for number in (7, 4075, 31, 860, 22222, 9)])
    alone, three = (
        reader(engine, detection=detection, workers=workers)(images) for workers in (1, 3)
    )
    assert three == alone
    assert len(set(alone)) == 6


def test_a_reader_that_fails_lends_its_engine_again(engine):
    read = reader(engine)
    with pytest.raises(Exception, match="NoneType"):
        read._read(None)
    assert read(drawn("407")[None]) == ["407"]  # one worker: it would wait for ever


def test_nothing_is_said_or_fetched(engine, monkeypatch, capfd):
    def refuse(*_):
        raise AssertionError("a reader went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    read = reader(engine)
    logging.getLogger("RapidOCR").setLevel(logging.DEBUG)  # as importing the other engine does
    assert read(torch.stack([drawn("407"), torch.full((3, 64, 64), 0.5)])) == ["407", ""]
    assert capfd.readouterr() == ("", "")


def test_the_reward_reads_and_scores(engine):
    pytest.importorskip(ENGINES[engine])
    reward = ocr(OcrOptions(engine=engine, detection=False, threads=1))
    prompts = [Prompt('the number "407"'), Prompt('the number "12"')]
    assert reward(torch.stack([drawn("407"), drawn("407")]), prompts).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("engine", "missing", "extra"),
    [
        ("rapidocr-onnxruntime", "rapidocr_onnxruntime", "ocr"),
        ("rapidocr", "rapidocr", "rapidocr"),
        ("rapidocr", "onnxruntime", "rapidocr"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, engine, missing, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(GuardcoreError, match=rf"pip install 'guardcore\[{extra}\]'"):
        ocr(OcrOptions(engine=engine))


def test_a_package_without_its_models_is_named_and_fetches_none(monkeypatch, tmp_path):
    rapidocr = pytest.importorskip("rapidocr")
    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(GuardcoreError, match=r"without PP-OCRv6_det_small\.onnx"):
        ocr(OcrOptions(engine="rapidocr"))
