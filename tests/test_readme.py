"""The README and its Chinese form say the same: commands, flags, figures, files; and what they show is there."""
import importlib
import re
from collections import Counter

from conftest import COMMANDS, ROOT

import pytest

SCRIPTS = ["data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.cn.md"))


def blocks(text):
    """Fenced blocks, but for the picture of the network, whose words are translated."""
    return [block for kind, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL) if kind != "mermaid"]


def prose(text):
    """What is left without these blocks and the lines that lead from one to the other."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"\[(English|中文)\]\(.*", "", text).replace("\n", " ")


def test_commands_are_equal():
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert len(blocks(ENGLISH)) > 10


@pytest.mark.parametrize("pattern", [r"--[a-z_]{2,}", r"\d+(?:[.,]\d+)*", r"`[^`\n]+`", r"\]\(([^)#]+)"],
                         ids=["flags", "figures", "code", "links"])
def test_both_hold_the_same(pattern):
    """As often, too."""
    one, other = (Counter(re.findall(pattern, prose(text), re.ASCII)) for text in (ENGLISH, CHINESE))
    assert (one - other, other - one) == (Counter(), Counter())


DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
FLAG = r"(?<![\w-])--[a-z][a-z0-9_-]+\b"


def flags_of(script, monkeypatch, capsys):
    """Flags of the --help of a script of the top level, such as --rules and --no-rules."""
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(script).parse_args()
    listed = re.findall(r"^  (-.*?)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    return {flag for flags in listed for flag in re.findall(FLAG, flags)} - {"--help"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_is_documented(script, monkeypatch, capsys):
    """In the README or in docs, the --no- form of a switch as well."""
    flags = flags_of(script, monkeypatch, capsys)
    assert len(flags) > 5
    assert flags - set(re.findall(FLAG, "".join(DOCUMENTS.values()))) == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_exists(name, monkeypatch, capsys):
    """Flags of the documents are those of a script, of what stands beside the scripts, or of a tool they name."""
    known = set().union(*(flags_of(script, monkeypatch, capsys) for script in SCRIPTS))
    for folder in ("benchmarks", "data", "docs", "tests"):
        for path in (ROOT / folder).glob("*.py"):
            known |= set(re.findall(r'"(--[a-z_]+)"', path.read_text(encoding="utf-8")))
    tools = {"--help", "--nproc_per_node", "--log_dir", "--master", "--nnodes", "--host"}  # the launcher's
    assert set(re.findall(FLAG, DOCUMENTS[name])) - known - tools == set()


def test_documented_commands_are_those_that_are_tested():
    for command in COMMANDS:
        assert command in ENGLISH, command


def test_links_lead_somewhere():
    for name in ("README.md", "README.cn.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))):
        folder = (ROOT / name).parent
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8")):
            assert link.startswith("http") or (folder / link).exists(), (name, link)


def test_the_online_recommender_is_the_one_that_is_tested():
    """Its lines stand in docs/serve.py."""
    [lines] = [block for block in blocks(ENGLISH) if "IndexFlatIP" in block]
    served = {line.strip() for line in (ROOT / "docs" / "serve.py").read_text(encoding="utf-8").splitlines()}
    assert {line.strip() for line in lines.splitlines()} <= served
