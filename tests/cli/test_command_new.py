"""``guardcore plugins new``."""

import shlex

import pytest


def test_new_writes_a_package_and_says_in_eight_lines_what_comes_next(guardcore, tmp_path):
    done = guardcore("plugins", "new", "ratio-transform", "late-steps", "--author", "Ada")
    assert done.code == 0, done.err
    assert done.err == ""
    lines = done.out.splitlines()
    assert len(lines) <= 8
    assert [line.strip() for line in lines if line.startswith("  ")] == [
        "cd guardcore-late-steps",
        "pip install -e '.[dev]'",
        "ruff check && mypy",
        "pytest",
        "guardcore plugins doctor guardcore-late-steps",
        "guardcore train --ratio ratio-norm --ratio late-steps:bound=2e-4 --set train.iterations=1",
    ]
    package = tmp_path / "guardcore-late-steps"
    assert "guardcore_late_steps.py" in lines[-1]
    assert (package / "guardcore_late_steps.py").is_file()
    assert " Ada\n" in (package / "LICENSE").read_text()


def test_new_writes_where_it_is_told_and_quotes_that_for_a_shell(guardcore, tmp_path):
    done = guardcore("plugins", "new", "tracker", "records", "--out", "my own/records")
    assert done.code == 0, done.err
    assert (tmp_path / "my own" / "records" / "guardcore_records.py").is_file()
    (line,) = (line for line in done.out.splitlines() if line.startswith("  cd "))
    assert shlex.split(line) == ["cd", "my own/records"]
    assert "--set 'tracker=[console, records]'" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rewrad", "late"), "did you mean 'reward'?"),
        (("reward", "Late"), "kebab-case"),
        (("sampler", "cps"), "the sampler name 'cps' is built in"),
        (("reward", "late", "--out", "."), "is not empty"),
    ],
)
def test_new_refuses_in_one_line(guardcore, tmp_path, arguments, said):
    (tmp_path / "kept").write_text("mine")
    done = guardcore("plugins", "new", *arguments)
    assert done.code == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_without_an_author_the_licence_names_the_packages_own(guardcore, tmp_path):
    done = guardcore("plugins", "new", "reward", "late", "--author", "")
    assert done.code == 0
    licence = (tmp_path / "guardcore-late" / "LICENSE").read_text()
    assert " the authors of guardcore-late\n" in licence
