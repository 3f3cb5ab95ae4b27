"""A study of the toy: which runs it has, that they are runs like any other, and how it goes on."""

import json
import logging

import pytest
from filelock import FileLock

from guardcore import GuardcoreError
from guardcore.errors import ConfigError
from guardcore.layers import Overrides, parse_config
from guardcore.loop import train
from guardcore.run_directory import RunDirectory
from guardcore.study import Grid, StudyDirectory, cells, run_cells
from guardcore.study.base import base_of, differing
from guardcore.study.grid import name, names, parse_vary, widened
from guardcore.study.progress import progress, seconds_left
from guardcore.study.tables import write_tables
from runs import metrics, rows, run, whole
from toy import Brightness, RewardOptions, toy_host, toy_tree

TWO = Grid(("plain", "guard"), (0,))
JUDGED = {"reward": ["brightness", {"use": "constant", "weight": 0}]}


@pytest.fixture(scope="module")
def host():
    return toy_host()


@pytest.fixture
def study(tmp_path):
    return StudyDirectory(tmp_path / "study")


def base(host, *assignments, flags=(), **sections):
    overrides = Overrides(reward=flags, assignments=assignments)
    return base_of(toy_tree(**sections), overrides, host.registry)


def made(host, *grids, **sections):
    return cells(base(host, **sections), grids, host.registry)


def ran(study, found, host, **more):
    return list(run_cells(study, found, host, report=False, **more))


def test_a_grid_is_every_strategy_with_every_seed_and_every_value():
    grid = Grid(("plain", "guard"), (0, 1), {"a.b": ("1", "2"), "c": ("x", "y", "z")})
    found = names([grid])
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 3
    assert found[0] == "plain-a.b=1-c=x-seed0"
    assert all(called.endswith("seed0") for called in found[:12])  # a seed's cells lie together


def test_a_name_is_a_directorys_whatever_is_in_it():
    called = name("acme:hot", ("sampler={use: cps, noise_level: 0.5}", "backbone.model=a/b"), 3)
    assert called == "acme-hot-sampler=-use-cps-noise_level-0.5-backbone.model=a-b-seed3"


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("train.learning_rate=1e-3,2e-3", "train.learning_rate", ("1e-3", "2e-3")),
        ("sampler=flow-sde,cps", "sampler", ("flow-sde", "cps")),
        ("rollout.train_steps=all,[0, 1],[2]", "rollout.train_steps", ("all", "[0, 1]", "[2]")),
        (
            "sampler={use: cps, noise_level: 0.5},ode",
            "sampler",
            ("{use: cps, noise_level: 0.5}", "ode"),
        ),
        ("a=1,1", "a", ("1",)),
    ],
)
def test_values_are_split_where_they_end(text, path, values):
    assert parse_vary([text]) == {path: values}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["train.learning_rate"], "expected PATH=VALUE,VALUE"),
        (["=1"], "expected PATH=VALUE,VALUE"),
        (["a=1", "a=2"], "varied twice"),
        (["seed=0,1"], "use --seed"),
        (["strategy=plain,guard"], "use --strategy"),
        (["ratio.0.low=1,2"], "use --strategy"),
    ],
)
def test_what_is_no_variation_is_refused_with_a_remedy(texts, words):
    with pytest.raises(GuardcoreError, match=words):
        parse_vary(texts)


def test_a_cells_config_is_the_base_with_its_own_values(host):
    grid = Grid(("guard",), (7,), {"train.learning_rate": ("1e-3", "2e-3"), "sampler": ("cps",)})
    first, second = made(host, grid, strategy="plain", seed=3)
    assert [c.config.train.learning_rate for c in (first, second)] == [1e-3, 2e-3]
    assert {c.config.sampler.use for c in (first, second)} == {"cps"}
    assert {(c.config.strategy, c.config.seed, c.seed) for c in (first, second)} == {
        ("guard", 7, 7)
    }
    plain = parse_config(base(host)).rollout  # with qualified names
    assert first.config.rollout == second.config.rollout == plain


def test_all_mistakes_of_all_cells_are_said_at_once_and_each_once(host):
    grid = Grid(("plain", "gard"), (0, 1), {"train.learning_rate": ("-1", "1e-3")})
    with pytest.raises(ConfigError) as caught:
        made(host, grid)
    assert len(caught.value.problems) == 2
    said = " ".join(caught.value.problems)
    assert "did you mean 'guard'" in said
    assert "train.learning_rate" in said


def test_a_wrong_path_names_the_option_it_came_from(host):
    with pytest.raises(GuardcoreError, match=r"--vary train\.learning_rate\.x: 'x' is below"):
        made(
            host,
            Grid(("plain",), (0,), {"train.learning_rate.x": ("1",)}),
            train={"learning_rate": 1e-3},
        )


def test_a_variation_that_changes_nothing_is_refused(host):
    path = "strategy_options.guard.ppo-clip.low"
    assert len(made(host, Grid(("guard",), (0,), {path: ("1e-4", "2e-4")}))) == 2
    with pytest.raises(GuardcoreError, match="plain-.*2e-4-seed0 would be the same run as plain-"):
        made(host, Grid(("plain",), (0,), {path: ("1e-4", "2e-4")}))


@pytest.mark.parametrize("text", ["seed=3", "strategy=plain", "ratio=[]"])
def test_what_the_grid_sets_cannot_be_set_for_all(host, text):
    with pytest.raises(GuardcoreError, match="a study sets"):
        base(host, text)


def test_a_base_has_no_words_and_no_seed_and_is_a_base_again(host):
    found = base(host, strategy="plain", seed=3)
    assert not {"strategy", "ratio", "gradient_weight", "seed"} & set(found)
    assert base_of(found, Overrides(), host.registry) == found
    assert base_of(json.loads(json.dumps(found)), Overrides(), host.registry) == found


def test_a_base_may_differ_in_how_long_and_how_it_is_shown_alone(host):
    one = base(host)
    assert (
        differing(one, base(host, "train.iterations=9", "tracker=[jsonl]", "checkpoint.keep=1"))
        == []
    )
    other = base(host, "train.learning_rate=1", "rollout.groups=2", flags=["colour"])
    assert {"train.learning_rate", "rollout.groups", "reward.0.use"} <= set(differing(one, other))


def test_what_is_not_said_is_as_in_the_study():
    stored = [Grid(("plain", "guard"), (0, 1)), Grid(("guard",), (0, 1), {"a": ("1",)})]
    nothing = {"strategies": (), "seeds": (), "vary": {}}
    assert widened(stored, nothing) == stored
    assert [g.seeds for g in widened(stored, {**nothing, "seeds": (5,)})] == [(5,), (5,)]
    assert widened(stored, {**nothing, "strategies": ("dppo",), "vary": {"b": ("2",)}}) == [
        Grid(("dppo",), (0, 1), {"b": ("2",)})
    ]


def test_a_study_remembers_what_was_asked_for_and_grows(study, host):
    assert study.stored() is None
    study.remember(base(host), [TWO])
    study.remember(base(host), [TWO, Grid(("dppo",), (0,))])
    StudyDirectory(study.path).remember(base(host), [Grid(("plain",), (1,), {"a": ("1", "2")})])
    assert study.stored() == (
        base(host),
        [TWO, Grid(("dppo",), (0,)), Grid(("plain",), (1,), {"a": ("1", "2")})],
    )


def test_another_base_is_refused_with_what_differs(study, host):
    study.remember(base(host), [TWO])
    with pytest.raises(
        GuardcoreError, match=r"these differ: rollout\.groups, train\.learning_rate;"
    ):
        study.remember(base(host, "train.learning_rate=1", "rollout.groups=2"), [TWO])
    assert study.stored()[0] == base(host)


def test_what_is_no_study_is_left_alone(tmp_path, host):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in ("notes", "file"):
        with pytest.raises(GuardcoreError, match="holds no study"):
            StudyDirectory(tmp_path / taken).stored()
    damaged = StudyDirectory(tmp_path / "damaged")
    damaged.remember(base(host), [TWO])
    damaged.file.write_text('{"base": {}}')
    with pytest.raises(GuardcoreError, match="is damaged"):
        damaged.stored()


def test_a_cell_is_bit_for_bit_the_run_that_train_does(study, host, tmp_path):
    found = made(host, TWO)
    assert [one.how for one in ran(study, found, host)] == ["finished", "finished"]
    run(tmp_path / "alone", host, strategy="guard", seed=0)
    assert whole(study.run("guard-seed0")) == whole(tmp_path / "alone")


def test_a_cell_that_was_begun_goes_on_and_a_finished_one_is_left_as_it_is(study, host):
    (plain, guard) = made(host, TWO)
    ran(study, [plain], host)
    (short,) = made(host, Grid(("guard",), (0,)), train={"iterations": 1})
    train(short.config, study.run("guard-seed0"), registry=host.registry, report=False)
    assert [progress(study, cell).left for cell in (plain, guard)] == [0, 2]
    before = study.run("plain-seed0").joinpath("metrics.jsonl").stat().st_mtime_ns
    first = rows(study.run("guard-seed0"), "metrics")[1]
    assert [one.how for one in ran(study, [plain, guard], host)] == ["finished", "finished"]
    assert study.run("plain-seed0").joinpath("metrics.jsonl").stat().st_mtime_ns == before
    assert rows(study.run("guard-seed0"), "metrics")[1] == first  # its seconds too: not done again
    assert [row["iteration"] for row in metrics(study.run("guard-seed0"))] == [0, 1, 2, 3]


def test_with_more_iterations_every_cell_goes_on(study, host):
    ran(study, made(host, TWO), host)
    longer = made(host, TWO, train={"iterations": 5})
    assert [progress(study, cell).left for cell in longer] == [2, 2]
    ran(study, longer, host)
    assert [progress(study, cell).iteration for cell in longer] == [5, 5]


def test_a_failing_cell_says_why_and_does_not_stop_the_others(study, host):
    grid = Grid(("plain",), (0,), {"reward.0.fault": ("raise", "none")})
    failed, finished = ran(study, made(host, grid, reward=[{"use": "brightness"}]), host)
    assert (failed.how, finished.how) == ("failed", "finished")
    assert "the judge has left the room" in failed.reason
    assert "\n" not in failed.reason
    states = [progress(study, one.cell) for one in (failed, finished)]
    assert "the judge has left the room" in states[0].error
    assert [state.finished for state in states] == [False, True]


def test_a_failed_cell_is_tried_again(study, host):
    broken = {"on": True}

    def moody(options: RewardOptions) -> Brightness:
        return Brightness(options.model_copy(update={"fault": "raise" if broken["on"] else "none"}))

    own = toy_host(moody=("rewards", moody))
    found = made(own, Grid(("plain",), (0,)), reward=["moody"])
    assert ran(study, found, own)[0].how == "failed"
    broken["on"] = False
    assert ran(study, found, own)[0].how == "finished"
    assert progress(study, found[0]).error is None


def test_a_cell_that_another_process_is_at_is_left_to_it(study, host):
    study.remember(base(host), [TWO])
    with FileLock(study.path / ".locks" / "plain-seed0.lock"):
        taken, own = ran(study, made(host, TWO), host)
    assert (taken.how, own.how) == ("elsewhere", "finished")
    assert not study.run("plain-seed0").exists()
    assert [one.how for one in ran(study, made(host, TWO), host)] == ["finished", "finished"]


def test_a_run_that_the_watch_stopped_is_over(study, host):
    (cell,) = made(host, Grid(("plain",), (0,)), watch={"stop": True}, **JUDGED)
    ran(study, [cell], host)
    record = RunDirectory(study.run(cell.name))
    kept = [row for row in record.rows("metrics") if row["iteration"] <= 2]
    (record.path / "metrics.jsonl").write_text("")
    record.append("metrics", kept)
    assert not progress(study, cell).finished
    (record.path / "metrics.jsonl").write_text("")
    record.append("metrics", [{**row, "alarm": float(row["iteration"] == 2)} for row in kept])
    assert progress(study, cell).finished
    assert progress(study, cell).left == 0


def test_the_rest_is_foretold_from_the_pace_so_far(study, host):
    found = made(host, TWO)
    assert seconds_left([progress(study, cell) for cell in found]) is None
    ran(study, found[:1], host)
    states = [progress(study, cell) for cell in found]
    assert seconds_left(states) == pytest.approx(states[0].seconds)
    assert [state.left for state in states] == [0, 3]


def test_a_warning_that_all_cells_share_is_said_once(study, host, caplog):
    found = made(host, Grid(("plain", "guard"), (0, 1)), train={"updates_per_iteration": 1})
    with caplog.at_level(logging.WARNING):
        ran(study, found, host)
        train(found[0].config, study.path / "after", registry=host.registry, report=False)
    said = [record.getMessage() for record in caplog.records]
    assert [text.startswith("train.updates_per_iteration is 1") for text in said] == [True, True]


def test_the_title_goes_to_trackers_that_take_one_and_into_no_file(study, host, capsys):
    (cell,) = made(
        host,
        Grid(("plain",), (0,)),
        tracker=["console", {"use": "jsonl", "path": str(study.path / "log")}],
    )
    study.path.mkdir()
    ran(study, [cell], host, title=lambda cell: f"now {cell.name}")
    assert capsys.readouterr().err.splitlines()[0] == "now plain-seed0"
    assert "now plain" not in study.run(cell.name).joinpath("config.yaml").read_text()


def test_the_tables_are_made_from_the_runs_of_every_session(study, host):
    assert write_tables(study) == []
    study.remember(base(host, **JUDGED), [TWO])
    ran(study, made(host, TWO, **JUDGED), host)
    more = Grid(("plain", "guard"), (1,))
    StudyDirectory(study.path).remember(base(host, **JUDGED), [more])
    ran(study, made(host, more, **JUDGED)[:1], host)  # guard's seed 1 has not run yet
    tables = write_tables(study)
    assert [(row.label, row.cells[0]) for row in tables[0].rows] == [("plain", "2"), ("guard", "1")]
    plain = json.loads(study.table.read_text())["rows"][0]
    found = [rows(study.run(f"plain-seed{seed}"), "metrics")[-1]["proxy"] for seed in (0, 1)]
    assert [plain["runs"][str(seed)]["proxy"] for seed in (0, 1)] == found
    assert plain["figures"]["proxy"]["mean"] == pytest.approx(sum(found) / 2)
    text = study.markdown.read_text()
    assert all(f"## {table.title}" in text for table in tables)


def test_a_damaged_run_is_left_out_of_the_table_and_said(study, host, caplog):
    study.remember(base(host), [TWO])
    ran(study, made(host, TWO), host)
    study.run("plain-seed0").joinpath("config.yaml").write_text("{")
    assert [row.label for row in write_tables(study)[0].rows] == ["guard"]
    assert "plain-seed0" in caplog.text
