"""README.md and README.cn.md have the same commands, flags, figures and links."""

from __future__ import annotations

import importlib
import re
from collections import Counter

from conftest import COMMANDS, ROOT

import pytest

SCRIPTS = ["data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.cn.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "README.cn.md", *ROOT.glob("docs/*.md")]
}
FLAG = r"(?<![\w-])--[a-z][a-z0-9_-]+\b"
LAUNCHER_FLAGS = {"--nproc_per_node", "--log_dir", "--master", "--nnodes", "--host"}


def blocks(text):
    """Fenced blocks, except the figure of the network, whose labels are translated."""
    fenced = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    return [block for kind, block in fenced if kind != "mermaid"]


def prose(text):
    """The text without fenced blocks and without the links between the two languages."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"\[(English|中文)\]\(.*", "", text).replace("\n", " ")


def test_commands_are_equal():
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert len(blocks(ENGLISH)) == 3


@pytest.mark.parametrize(
    "pattern",
    [r"--[a-z_]{2,}", r"\d+(?:[.,]\d+)*", r"`[^`\n]+`", r"\]\(([^)#]+)"],
    ids=["flags", "figures", "code", "links"],
)
def test_both_languages_hold_the_same(pattern):
    """Each flag, figure, piece of code and link is in both, and equally often."""
    english = Counter(re.findall(pattern, prose(ENGLISH), re.ASCII))
    chinese = Counter(re.findall(pattern, prose(CHINESE), re.ASCII))
    assert (english - chinese, chinese - english) == (Counter(), Counter())


def flags_of(script, capsys):
    """Flags in the --help of a script, --rules and --no-rules separately."""
    with pytest.raises(SystemExit):
        importlib.import_module(script).main(["--help"])
    listed = re.findall(r"^  (-.*?)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    return {flag for flags in listed for flag in re.findall(FLAG, flags)} - {"--help"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_is_documented(script, capsys):
    """In the README or in docs, the --no- form of a switch as well."""
    flags = flags_of(script, capsys)
    assert len(flags) > 5
    assert flags - set(re.findall(FLAG, "".join(DOCUMENTS.values()))) == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_exists(name, capsys):
    """Documented flags are those of a script, of another program here, or of paddle's launcher."""
    known = {"--help"} | LAUNCHER_FLAGS
    for script in SCRIPTS:
        known |= flags_of(script, capsys)
    for folder in ("benchmarks", "data", "docs", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            known |= set(re.findall(r'"(--[a-z_]+)"', path.read_text(encoding="utf-8")))
    assert set(re.findall(FLAG, DOCUMENTS[name])) - known == set()


def test_documented_commands_are_the_tested_ones():
    for command in COMMANDS:
        assert command in ENGLISH, command


def test_links_lead_to_files():
    for name, text in DOCUMENTS.items():
        folder = ROOT if name.startswith("README") else ROOT / "docs"
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert link.startswith("http") or (folder / link).exists(), (name, link)


def headings(text):
    """Anchors of the headings of a document, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_to_headings():
    for name, text in DOCUMENTS.items():
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", text):
            target = link.rpartition("/")[2] or name
            assert anchor in headings(DOCUMENTS[target]), (name, link, anchor)


def test_the_online_recommender_is_docs_serve():
    """Every line of the example is in docs/serve.py."""
    [example] = [block for block in blocks(DOCUMENTS["serving.md"]) if "IndexFlatIP" in block]
    program = (ROOT / "docs" / "serve.py").read_text(encoding="utf-8")
    lines = {line.strip() for line in program.splitlines()}
    assert {line.strip() for line in example.splitlines()} <= lines


def test_the_map_of_the_code_is_complete():
    """docs/code.md has a line for each module, and names no file that does not exist."""
    text = DOCUMENTS["code.md"]
    modules = [path for path in ROOT.glob("candgen/**/*.py") if path.name != "__init__.py"]
    documented = re.findall(r"^\| `([\w/.]+\.py)` \|", text, re.MULTILINE)
    scripts = [path.name for path in ROOT.glob("*.py")]
    expected = [path.relative_to(ROOT).as_posix() for path in modules] + scripts
    assert sorted(documented) == sorted(expected)
    for path in re.findall(r"`((?:candgen|tests|docs|benchmarks)/[\w/.]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_named_tests_exist():
    """In docs/safety.md and wherever a document cites a test."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    existing = set(re.findall(r"^def (test_\w+)", "\n".join(sources), re.MULTILINE))
    for name, text in DOCUMENTS.items():
        assert set(re.findall(r"`(test_\w+)`", text)) - existing == set(), name
