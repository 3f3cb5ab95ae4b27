import numpy as np
import torch
from PIL import Image

from guardcore.grid import read_grid, save_grid

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (128, 64, 32)]


def plain(colours, height=16, width=16):
    rows = torch.tensor(colours).float() / 255
    return rows[:, :, None, None].expand(-1, 3, height, width)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_images_lie_row_by_row_in_their_colours(tmp_path):
    save_grid(tmp_path / "g.png", plain(COLOURS), ["a"] * 5, columns=3)
    sheet = pixels(tmp_path / "g.png")
    # 16 px are enlarged to 128; a frame of 8; 14 px a line of caption and 12 below
    for place, colour in enumerate(COLOURS):
        left, top = 8 + place % 3 * 136, 8 + place // 3 * (128 + 14 + 12)
        tile = sheet[top : top + 128, left : left + 128]
        assert (tile == colour).all(), place
    assert (sheet[:8] == 255).all()


def test_an_image_is_neither_turned_nor_mirrored(tmp_path):
    image = torch.zeros(1, 3, 128, 192)
    image[0, 0, :10, :20] = 1  # red, top left
    image[0, 1, -10:, :20] = 1  # green, bottom left
    save_grid(tmp_path / "g.png", image, ["a"])
    sheet = pixels(tmp_path / "g.png")[8:136, 8:200]
    assert (sheet[5, 5] == (255, 0, 0)).all()
    assert (sheet[-5, 5] == (0, 255, 0)).all()
    assert (sheet[5, -5] == (0, 0, 0)).all()


def test_values_outside_the_range_are_cut(tmp_path):
    save_grid(
        tmp_path / "g.png",
        torch.tensor([2.0, -1.0, 0.5])[None, :, None, None].expand(1, 3, 128, 128),
        ["a"],
    )
    assert (pixels(tmp_path / "g.png")[50, 50] == (255, 0, 128)).all()


def test_captions_of_any_length_and_script_are_written(tmp_path):
    captions = ["", "word " * 200, "ein Bär \u2028 und 猫", "x" * 500, "tab\tnewline\n[/red]"]
    save_grid(tmp_path / "g.png", plain(COLOURS), captions)
    assert (pixels(tmp_path / "g.png")[8:136, 8:136] == COLOURS[0]).all()


def test_tiles_are_read_back_as_they_were_written(tmp_path):
    captions = ["a", "word " * 20, "", "ein Bär", "e", "f", "g", "h"]
    colours = [*COLOURS, (1, 2, 3), (4, 5, 6), (200, 100, 50)]
    for number, (height, width) in ((8, (16, 16)), (8, (160, 256)), (1, (8, 24)), (4, (128, 128))):
        save_grid(tmp_path / "g.png", plain(colours[:number], height, width), captions[:number])
        tiles = read_grid(tmp_path / "g.png", captions[:number])
        factor = max(1, -(-128 // min(height, width)))
        assert {tile.size for tile in tiles} == {(width * factor, height * factor)}
        for tile, colour in zip(tiles, colours[:number], strict=True):
            assert (np.asarray(tile) == colour).all()
