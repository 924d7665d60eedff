"""The README and its Chinese form say the same: commands, flags, figures, files; and what they show is there."""
import re
from collections import Counter

from conftest import COMMANDS, ROOT

import pytest

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


def test_every_flag_exists():
    """Flags of the README are flags of the scripts."""
    scripts = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*.py"))
    outside = {"--nproc_per_node", "--log_dir", "--master", "--nnodes", "--help"}
    for flag in set(re.findall(r"--[a-z_]{2,}", ENGLISH)) - outside:
        assert f'"{flag.replace("--no-", "--")}"' in scripts, flag


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
