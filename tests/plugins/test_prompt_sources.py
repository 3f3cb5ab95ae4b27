import json

import pytest

from guardcore import GuardcoreError, Prompt, create

KINDS = pytest.mark.parametrize("kind", ["text", "jsonl"])


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_text_is_a_prompt_a_line_without_blank_ones(tmp_path):
    path = write(tmp_path / "p.txt", 'a cat\n\n  a dog  \r\n\t\nthe number "407"')
    source = create("prompt_source", "text", path=path)
    assert len(source) == 3
    assert list(source) == [Prompt("a cat"), Prompt("a dog"), Prompt('the number "407"')]


def test_jsonl_keeps_the_rest_of_the_object_as_metadata(tmp_path):
    record = {
        "tag": "counting",
        "include": [{"class": "clock", "count": 2}],
        "prompt": "two clocks",
    }
    path = write(tmp_path / "p.jsonl", json.dumps(record) + "\n\n" + '{"prompt": "a cup"}\n')
    source = create("prompt_source", "jsonl", path=str(path))
    assert source[0].text == "two clocks"
    assert source[0].metadata == {"tag": "counting", "include": record["include"]}
    assert source[1] == Prompt("a cup")


@KINDS
def test_a_file_that_is_not_there_is_named_with_its_option(kind, tmp_path):
    with pytest.raises(
        GuardcoreError, match=rf"prompt_source {kind}.path: no such file: .*nowhere"
    ):
        create("prompt_source", kind, path=tmp_path / "nowhere")


@KINDS
def test_a_folder_is_no_file(kind, tmp_path):
    with pytest.raises(GuardcoreError, match="no such file"):
        create("prompt_source", kind, path=tmp_path)


@KINDS
@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_a_file_without_a_prompt_is_refused(kind, content, tmp_path):
    with pytest.raises(GuardcoreError, match=r"p\.txt holds no prompt"):
        create("prompt_source", kind, path=write(tmp_path / "p.txt", content))


@KINDS
def test_bytes_that_are_no_text_are_refused(kind, tmp_path):
    with pytest.raises(GuardcoreError, match=r"p\.txt is not UTF-8"):
        create("prompt_source", kind, path=write(tmp_path / "p.txt", b'{"prompt": "\xff\xfe"}'))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{'prompt': 'x'}", "not JSON"),
        ("[1, 2]", "expected an object with a string 'prompt'"),
        ('"a cat"', "expected an object with a string 'prompt'"),
        ('{"text": "a cat"}', "expected an object with a string 'prompt'"),
        ('{"prompt": 5}', "expected an object with a string 'prompt'"),
    ],
)
def test_a_broken_line_is_named_by_its_number_in_the_file(line, complaint, tmp_path):
    path = write(tmp_path / "p.jsonl", '{"prompt": "fine"}\n\n' + line + "\n")
    with pytest.raises(GuardcoreError, match=rf"p\.jsonl:3: {complaint}"):
        create("prompt_source", "jsonl", path=path)


def test_the_home_directory_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "p.txt", "a cat")
    assert list(create("prompt_source", "text", path="~/p.txt")) == [Prompt("a cat")]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_prompt(separator, tmp_path):
    text = f"a{separator}b"
    path = write(tmp_path / "p.txt", text + "\nc\n")
    assert [p.text for p in create("prompt_source", "text", path=path)] == [text, "c"]
    path = write(tmp_path / "p.jsonl", '{"prompt": "a\u2028b"}\n')
    assert [p.text for p in create("prompt_source", "jsonl", path=path)] == ["a\u2028b"]


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path):
    content = b"\xef\xbb\xbf"
    path = write(tmp_path / "p.txt", content + b"a cat\n")
    assert [p.text for p in create("prompt_source", "text", path=path)] == ["a cat"]
    path = write(tmp_path / "p.jsonl", content + b'{"prompt": "a cat"}\n')
    assert [p.text for p in create("prompt_source", "jsonl", path=path)] == ["a cat"]
