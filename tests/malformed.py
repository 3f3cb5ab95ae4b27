"""Malformed configs: sound ones, changed anywhere, as trees, as YAML and on the command line."""

import datetime
from copy import deepcopy

import yaml
from hypothesis import strategies as st

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.layers import parse_config, read_yaml
from guardcore.plugins import installed
from guardcore_plugins.profiles import profiles


def _whole():
    """The profiles that lie over no other, with prompts that need no file."""
    found = [tree for tree in map(read_yaml, profiles().values()) if "prompts" in tree]
    embedded = read_yaml(profiles()["tiny-sd3"])["prompts"]
    return [{**tree, "prompts": embedded} for tree in found]


def _resolved(tree):
    config = parse_config(tree)
    return resolved(config, bind(config, installed()))


SOUND = [config for tree in _whole() for config in (tree, _resolved(tree))]

NAMES = [name for entry in installed() for name in (entry.name, entry.qualified)]
"""Of components of every kind, mostly of another than the one that is asked for."""

OPTIONS = sorted({name for entry in installed() for name in entry.options.model_fields})
KEYS = st.one_of(
    st.sampled_from([*OPTIONS, "use", "weight", "from", "train_steps", "strategy", "<all>", ""]),
    st.text(max_size=8),
    st.sampled_from(["a\nb", "a.b", "0", "__class__", "model_config", "self", "\x00", "\ud800"]),
)
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**63, -(2**64), 10**400, 1e308, 5e-324, -0.0]),
    st.integers(),
    st.floats(),  # nan and inf among them
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=12),
    st.sampled_from(NAMES),
    st.sampled_from(
        ["2e-6", "on", "0x1f", "1_000", "guard", "all", "auto", "stranger:thing", "a:b:c"]
    ),
    st.sampled_from(["x" * 5000, "\x1b[31m", "[/red]", "ａ\u202eb", "a\r\nb", "%s{}", "\ud800"]),
    st.sampled_from([b"\xff", datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)]),
)
"""What YAML can hold in one place."""

ODD_KEYS = st.one_of(KEYS, st.integers(), st.none(), st.booleans(), st.just((1, "a")))
VALUES = st.recursive(
    st.one_of(PLAIN, st.sampled_from([set(), {"a"}, (1, 2)])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(ODD_KEYS, inner, max_size=3),
        st.builds(lambda use, more: {**more, "use": use}, inner, st.dictionaries(KEYS, inner)),
    ),
    max_leaves=8,
)


def nested(depth):
    """A list in a list in a list …: PyYAML itself gives up at a depth of about 300."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def places(tree, path=()):
    """Every path into a tree, that of the tree first."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


@st.composite
def trees(draw):
    """A sound config with one to four things in it changed."""
    tree = deepcopy(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(1, 4))):
        *above, last = draw(st.sampled_from(list(places(tree))[1:] or [("seed",)]))
        node = tree
        for key in above:
            node = node[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                node[last] = draw(VALUES | st.just(200).map(nested))
            case "remove":
                del node[last]
            case "add" if isinstance(node, dict):
                node[draw(ODD_KEYS)] = draw(VALUES)
            case "add":
                node.append(draw(VALUES))
    return tree


ODDITIES = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"\r", b"\n", b" ", b"\x1b", b"\x85", b"&a ", b"*a",
    b"&a [*a]", b"!!python/object:os.system ls", b"!!python/name:os.system", b"!x ", b"!!binary =",
    b"!!set {a, b}", b"!!omap [a: 1]", b"!!timestamp x", b"!!int x", b"!!float .", b"!!bool maybe",
    b"2024-13-45", b"2024-01-01", b"012", b"0o7", b"0x", b"1:60:60", b"2e-6", b"2.e-6", b".nan", b"-.inf",
    b"on", b"off", b"yes", b"~", b"{", b"}", b"[", b"]", b",", b": ", b"? ", b"- ", b"#", b"|\n", b">-\n",
    b"'", b'"', b"%YAML 9.9\n---\n", b"---\n", b"...\n", b"<<: *a\n", b"<<: [1]\n", b"seed: 1\n", b"@", b"`",
    b"[" * 3000, b"{a: " * 600, b"9" * 5000, b"0x" + b"f" * 5000, "\u2028é😀".encode(), "x".encode("utf-16"),
]  # fmt: skip


@st.composite
def files(draw):
    """A sound config's bytes with one to four of the format's oddities in them."""
    text = yaml.safe_dump(draw(st.sampled_from(SOUND)), sort_keys=False).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.one_of(st.just(0), st.integers(0, len(text))))
        cut = draw(st.sampled_from([0, 0, 1, 5, 40]))
        odd = draw(st.one_of(st.sampled_from(ODDITIES), st.binary(max_size=6)))
        text = text[:start] + odd + text[start + cut :]
    return text


def _joined(*parts):
    return st.tuples(*parts).map("".join)


WORDS = st.one_of(
    st.sampled_from(
        [*NAMES, *OPTIONS, "", "guard", "nan", "{", "[1", "&a", "*a", "2e-6", "!!python/name:x"]
    ),
    st.text(max_size=6),
)
COMPONENTS = _joined(
    st.sampled_from(NAMES) | WORDS, st.sampled_from(["", ":", "::", ":="]), WORDS,
    st.sampled_from(["", "=", "==", "=,"]), WORDS,
)  # fmt: skip
PATHS = st.sampled_from([".".join(map(str, path)) for tree in SOUND for path in places(tree)][1:])
ASSIGNMENTS = _joined(
    PATHS | _joined(PATHS, st.just("."), WORDS) | WORDS, st.sampled_from(["=", "", "=="]), WORDS
)
