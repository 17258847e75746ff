"""What the help says: which commands there are and what each does, and of each an example to start from."""

from __future__ import annotations

import re

import pytest
from support.cli import Ictc

from ictc.cli.main import COMMANDS, app

ALL_COMMANDS = [command for commands in COMMANDS.values() for command in commands]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_list_of_commands_says_in_groups_what_each_does(ictc: Ictc, arguments: tuple[str, ...]) -> None:
    shown = ictc(*arguments).stdout
    assert [title for title in re.findall(r"╭─ (.+?) ─", shown) if title in COMMANDS] == list(COMMANDS)
    for command in ALL_COMMANDS:
        assert re.search(rf"│ {command} +[A-Z]\w+", shown), f"{command} has no word of explanation"


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_the_help_of_a_command_opens_with_a_sentence_and_has_an_example(ictc: Ictc, command: str) -> None:
    help_text = app[command].help.split("\n\n")
    assert help_text[0].endswith(".")
    assert re.search(rf"^ictc {command} ", ictc(command, "--help").stdout, re.MULTILINE)
