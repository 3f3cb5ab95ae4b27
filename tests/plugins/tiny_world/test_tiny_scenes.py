import itertools

import numpy as np
import pytest

from guardcore_plugins.rewards.ocr import score_text, target
from guardcore_plugins.tiny_world.drawing import draw
from guardcore_plugins.tiny_world.scenes import (
    DIGITS,
    PALETTE,
    PLURALS,
    RELATIONS,
    TAGS,
    TASKS,
    Scene,
    Thing,
    captions,
    draw_scene,
    families,
    mistake,
)


@pytest.mark.parametrize("tag", TAGS)
def test_the_splits_are_disjoint_and_cover_the_tag(tag):
    train, held_out = captions(tag, "train"), captions(tag, "eval")
    everything = {scene.caption for family in families(tag) for scene in family}
    assert not train & held_out
    assert train | held_out == everything
    assert len(held_out) / len(everything) == pytest.approx(0.2, abs=0.01)


def test_no_caption_is_in_two_tags():
    for one, other in itertools.combinations(TAGS, 2):
        both = captions(one, "train") | captions(one, "eval")
        assert not both & (captions(other, "train") | captions(other, "eval"))


def test_the_split_is_the_same_on_every_machine():
    held_out = ["a circle", "a picture of a ring", "a ring"]
    assert sorted(captions("single_object", "eval")) == held_out
    assert 'the number "407"' in captions(DIGITS, "train")


def test_every_word_occurs_in_training():
    def words(split):
        return {word for tag in TASKS for text in captions(tag, split) for word in text.split()}

    assert words("eval") <= words("train")


@pytest.mark.parametrize("tag", TASKS)
def test_metadata_is_genevals(tag):
    for scene in itertools.chain(*families(tag)):
        metadata = scene.metadata()
        assert metadata["tag"] == tag
        assert metadata["prompt"] == scene.caption
        assert metadata["include"]
        for clause in metadata["include"]:
            assert clause["class"] in PLURALS
            assert clause.get("color", "red") in PALETTE


def test_a_scene_excludes_one_more_of_what_it_shows_and_every_other_shape():
    metadata = Scene("counting", (Thing("circle", 3, "red"),)).metadata()
    assert metadata["include"] == [{"class": "circle", "count": 3, "color": "red"}]
    excluded = {clause["class"]: clause["count"] for clause in metadata["exclude"]}
    assert excluded == {"circle": 4, "square": 1, "triangle": 1, "cross": 1, "ring": 1}


def test_a_position_refers_to_the_anchor_which_comes_first():
    things = (Thing("circle", color="red"), Thing("square", color="orange"))
    scene = Scene("position", things, "left of")
    assert scene.caption == "a red circle left of an orange square"
    assert scene.metadata()["include"] == [
        {"class": "square", "count": 1, "color": "orange"},
        {"class": "circle", "count": 1, "color": "red", "position": ["left of", 0]},
    ]
    assert {s.relation for family in families("position") for s in family} == set(RELATIONS)


def test_a_number_is_quoted_as_the_ocr_rule_reads_it():
    for scene in families(DIGITS)[1]:
        assert target(scene.caption) == scene.digits == scene.metadata()["text"]
        assert score_text(f" {scene.digits}\n", scene.caption) == 1.0


@pytest.mark.parametrize("tag", TAGS)
def test_a_mistake_is_another_training_caption_of_the_tag(tag):
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = draw_scene(rng, tag, "train")
        wrong = mistake(rng, scene)
        assert wrong.caption != scene.caption
        assert wrong.caption in captions(tag, "train")


def test_pictures_follow_from_the_seed():
    def picture(seed):
        rng = np.random.default_rng(seed)
        return draw(rng, draw_scene(rng, "counting", "train"))

    assert np.array_equal(picture(3), picture(3))
    assert not np.array_equal(picture(3), picture(4))
    assert picture(3).shape == (64, 64, 3)


def test_an_unknown_tag_is_named():
    with pytest.raises(ValueError, match="unknown tag 'sizes': expected one of single_object"):
        families("sizes")
