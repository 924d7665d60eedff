"""The home folder, variables of launchers and of OpenMP."""

import os

from candgen.console import InputError
from candgen.environment import ensure_home, launched
from conftest import (
    ROOT,
    run,
)

import pytest


@pytest.mark.parametrize("home", ["/dev/null", "/proc/home", "relative", "read-only", "usable"])
def test_home(tmp_path, monkeypatch, home):
    """One that cannot be written to is replaced by a temporary folder; another one is kept."""
    (tmp_path / "read-only").mkdir(mode=0o500)
    if home in ("read-only", "usable"):
        home = str(tmp_path / home)
    if home.endswith("read-only") and os.access(home, os.W_OK):
        pytest.skip("this user can write everywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    removed = []
    monkeypatch.setattr("atexit.register", lambda function, path, **_: removed.append(path))
    ensure_home(".cache/a", ".b")
    found = os.environ["HOME"]
    assert (found == home) == home.endswith("usable") and removed == [found] * (found != home)
    if removed:
        os.rmdir(found)
    else:
        assert sorted(os.listdir(home)) == [".b", ".cache"] and os.listdir(f"{home}/.b") == []


def test_no_home_and_no_temporary_folder(monkeypatch):
    def nowhere(**_):
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    with pytest.raises(
        InputError, match=r"HOME=/dev/null.*there is no temporary folder; set TMPDIR or HOME"
    ):
        ensure_home(".cache")


LAUNCHED = {
    "PADDLE_TRAINERS_NUM": "2",
    "PADDLE_TRAINER_ID": "1",
    "PADDLE_CURRENT_ENDPOINT": "b:2",
    "PADDLE_TRAINER_ENDPOINTS": "a:1,b:2",
}


@pytest.fixture
def launcher(monkeypatch):
    """A function that sets the variables of paddle's launcher to these, and no others."""

    def set_variables(variables):
        for name in (*LAUNCHED, "PADDLE_PG_TIMEOUT", "FLAGS_nccl_nrings"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, (1, 0)),
        (LAUNCHED, (2, 1)),
        ({"PADDLE_TRAINERS_NUM": "", "PADDLE_TRAINER_ID": ""}, (1, 0)),
        ({"PADDLE_TRAINERS_NUM": "1", "PADDLE_TRAINER_ENDPOINTS": "x"}, (1, 0)),
    ],
)
def test_ranks_of_a_launcher(launcher, variables, expected):
    launcher(variables)
    assert launched() == expected


@pytest.mark.parametrize(
    "variables, named",
    [
        ({"PADDLE_TRAINERS_NUM": "x"}, "PADDLE_TRAINERS_NUM=x: not a whole number"),
        ({"PADDLE_TRAINERS_NUM": "-1"}, "PADDLE_TRAINERS_NUM=-1: not a whole number"),
        ({"PADDLE_TRAINERS_NUM": "0"}, "PADDLE_TRAINER_ID=0: not below PADDLE_TRAINERS_NUM=0"),
        ({"PADDLE_TRAINER_ID": "x"}, "PADDLE_TRAINER_ID=x: not a whole number"),
        ({"PADDLE_TRAINER_ID": "3"}, "PADDLE_TRAINER_ID=3: not below PADDLE_TRAINERS_NUM=1"),
        ({"PADDLE_PG_TIMEOUT": "x"}, "PADDLE_PG_TIMEOUT=x: not a whole number"),
        ({"PADDLE_TRAINERS_NUM": "2"}, "PADDLE_TRAINERS_NUM=2: PADDLE_TRAINER_ENDPOINTS and"),
        (
            {**LAUNCHED, "PADDLE_TRAINERS_NUM": "3"},
            "PADDLE_TRAINERS_NUM=3: PADDLE_TRAINER_ENDPOINTS and",
        ),
        (
            {**LAUNCHED, "PADDLE_CURRENT_ENDPOINT": ""},
            "PADDLE_TRAINERS_NUM=2: PADDLE_TRAINER_ENDPOINTS and",
        ),
    ],
)
def test_variables_left_by_a_launcher(launcher, variables, named):
    launcher(variables)
    with pytest.raises(
        InputError, match=f"^{named}.*; unset all PADDLE_ variables, or start with "
    ):
        launched()


@pytest.mark.parametrize(
    "given, used",
    [("0", "1"), ("abc", "1"), ("", "1"), ("100000", "1"), ("4", "4"), ("4,2", "4,2")],
)
def test_numbers_of_threads(given, used):
    """What OpenMP would warn of, or abort at, is replaced."""
    out = run(
        f"OMP_NUM_THREADS={given} python -c "
        "'import os, candgen; print(os.environ[\"OMP_NUM_THREADS\"])'",
        ROOT,
    )
    assert (out.stdout, out.stderr) == (used + "\n", "")
