"""The JSON schema is what an editor completes from: it must stand on its own and know everyone."""

import json

import pytest

from guardcore.schema import config_schema
from toy import toy_host

HOST = toy_host()
SCHEMA = config_schema(HOST.registry)


def nodes(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def resolve(reference):
    node = SCHEMA
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_every_reference_leads_somewhere():
    references = {node["$ref"] for node in nodes(SCHEMA) if isinstance(node.get("$ref"), str)}
    assert len(references) > 10
    for reference in references:
        assert isinstance(resolve(reference), dict)


def test_it_is_json():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def forms(node):
    """All named forms that are reachable from a node without leaving it for a property."""
    if "$ref" in node:
        yield from forms(resolve(node["$ref"]))
    for key in ("anyOf", "oneOf", "allOf"):
        for part in node.get(key, []):
            yield from forms(part)
    if "items" in node:
        yield from forms(node["items"])
    if "properties" in node and "use" in node["properties"]:
        yield node


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (("backbone",), "backbone"),
        (("sampler",), "sampler"),
        (("advantage",), "advantage"),
        (("ratio",), "ratio_transform"),
        (("gradient_weight",), "gradient_weight"),
        (("reward",), "reward"),
        (("penalty",), "penalty"),
        (("tracker",), "tracker"),
        (("prompts", "train"), "prompt_source"),
        (("prompts", "eval"), "prompt_source"),
        (("evaluate", "sampler"), "sampler"),
        (("rollout", "train_steps"), "window"),
    ],
)
def test_every_place_of_a_component_offers_all_of_its_kind_with_their_options(place, kind):
    node = SCHEMA
    for key in place:
        while "$ref" in node:
            node = resolve(node["$ref"])
        node = node["properties"][key]
    offered = {name: form for form in forms(node) for name in form["properties"]["use"]["enum"]}
    entries = HOST.registry.of_kind(kind)
    assert set(offered) == {name for e in entries for name in (e.name, e.qualified)}
    for entry in entries:
        form = offered[entry.qualified]
        weight = {"weight"} if kind in ("reward", "penalty") else set()
        fields = {f.alias or name for name, f in entry.options.model_fields.items()}
        assert set(form["properties"]) == {"use", *weight, *fields}
        assert form["additionalProperties"] is False


def test_strategies_are_offered_by_name():
    names = SCHEMA["properties"]["strategy"]["anyOf"][0]["enum"]
    assert {"guard", "guardcore:guard", "dppo"} <= set(names)


def test_options_keep_their_ranges_and_descriptions():
    (form,) = [
        f for f in forms({"$ref": "#/$defs/sampler"}) if "cps" in f["properties"]["use"]["enum"]
    ]
    level = form["properties"]["noise_level"]
    assert (level["exclusiveMinimum"], level["maximum"], level["default"]) == (0, 1, 0.7)
    assert level["description"]


def test_a_window_may_also_be_a_list_or_a_mapping_without_use():
    node = resolve("#/$defs/Rollout")["properties"]["train_steps"]
    forms_of_windows = resolve(node["$ref"])["anyOf"]
    assert [form.get("type") for form in forms_of_windows[-2:]] == ["array", "object"]
