"""Who may be imported: what the environment allows, less what is left out."""

import os

import pytest

from guardcore import GuardcoreError
from guardcore.permission import ALLOW_LIST, LEFT_OUT, Permission, leave_out
from stranger import install, plugin


@pytest.mark.parametrize(
    ("allowed", "left_out", "by"),
    [
        (None, None, {}),
        ("", None, {"one": ALLOW_LIST, "two-three": ALLOW_LIST}),
        (" , ", None, {"one": ALLOW_LIST, "two-three": ALLOW_LIST}),
        ("one", None, {"two-three": ALLOW_LIST}),
        (" Two_Three ,one", None, {}),
        (None, "two.three", {"two-three": "--without"}),
        ("one", "one", {"one": "--without", "two-three": ALLOW_LIST}),
        ("", "guardcore", {"one": ALLOW_LIST, "two-three": ALLOW_LIST}),
    ],
)
def test_the_environment_says_who_is_kept_out_and_by_what(monkeypatch, allowed, left_out, by):
    for name, value in ((ALLOW_LIST, allowed), (LEFT_OUT, left_out)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    permission = Permission.from_environment()
    refusals = {name: permission.refusal(name) for name in ("guardcore", "one", "two-three")}
    assert {name: refusal.by for name, refusal in refusals.items() if refusal} == by
    assert all(name in refusal.remedy for name, refusal in refusals.items() if refusal)


def test_leaving_out_adds_to_what_is_left_out_and_is_inherited(site, monkeypatch):
    monkeypatch.setenv(LEFT_OUT, "earlier")
    install(site, "Some_Words", {"some_words": plugin("some")})
    leave_out(["some.words", "some-words"])
    assert os.environ[LEFT_OUT] == "earlier,some-words"
    assert Permission.from_environment().left_out == {"earlier", "some-words"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("guardcore", "the built-ins cannot be left out"),
        ("some-wrods", "no such distribution has plugins; did you mean 'some-words'?"),
        ("pydantic", "no such distribution has plugins; see 'guardcore plugins list --no-import'"),
    ],
)
def test_leaving_out_whom_nobody_knows_is_a_mistake_and_leaves_nobody_out(
    site, monkeypatch, name, reason
):
    monkeypatch.setenv(LEFT_OUT, "")
    install(site, "some-words", {"some_words": plugin("some")})
    with pytest.raises(GuardcoreError) as caught:
        leave_out(["some-words", name])
    assert str(caught.value) == f"--without {name}: {reason}"
    assert os.environ[LEFT_OUT] == ""
