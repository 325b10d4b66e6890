"""The chart of gradient norms by layer group."""

from made_runs import make_run, records
from residua.reports.gradient_chart import gradient_chart
from residua.reports.history import History


def drawn(tmp_path, log):
    (picture,) = gradient_chart(History.of(make_run(tmp_path / "run", log=log)))
    return picture.content.decode()


def test_each_group_has_its_curve(tmp_path):
    log = [
        record | {"grad_norms": {"stem": 1e-4, "stage1": 0.01, "stage2": 0.1, "head": 1.0}}
        for record in records(4)
    ]
    svg = drawn(tmp_path, log)
    assert all(f">{name}<" in svg for name in ("stem", "stage1", "stage2", "head", "all"))
    assert ">0.0001<" in svg


def test_a_log_without_groups_shows_the_whole(tmp_path):
    svg = drawn(tmp_path, records(4))
    assert ">stem<" not in svg
    assert ">all<" not in svg
    assert svg.count("<path") > 1


def test_before_an_epoch_there_is_none(tmp_path):
    assert gradient_chart(History.of(make_run(tmp_path / "run"))) == []


def test_gradients_of_nothing_are_drawn_without_a_warning():
    """As those of an epoch whose every step overflowed in float16."""
    log = [record | {"grad_norm": 0.0} for record in records(3)]
    assert gradient_chart(History(log, "test"))
