"""The command line as a page, from the parsers themselves: docs/reference/commands.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from ..cli import app
from ..commands.grouped import GROUPS, GroupedCommand

HEAD = """# The command line

Every command with its options and their defaults, written from the parsers by `make pages`; `pyrogrn COMMAND --help`
prints the same. `pyrogrn --version` is the version, `pyrogrn --install-completion` completes commands and options in
your shell. A mistake ends in one line and exit code 2, an interrupt in exit code 130.

"""


@dataclass(frozen=True)
class Option:
    """An option or argument as a user types it: ``names``, the word for its value (empty of a switch), whether it may
    be given more than once, its default as text (empty where there is none), what its help says, and its group."""

    names: tuple[str, ...]
    value: str
    repeatable: bool
    required: bool
    default: str
    help: str
    group: str


@dataclass(frozen=True)
class Command:
    """A command: its name (``simulate linear``), what it does, its options, and its examples."""

    name: str
    summary: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]

    @property
    def arguments(self) -> list[Option]:
        """What is given without a name."""
        return [option for option in self.options if not option.names[0].startswith("-")]


def commands() -> list[Command]:
    """Every command of ``pyrogrn``, those of groups (``simulate``) one by one."""
    return list(_commands(typer.main.get_command(app), ""))


def command_page() -> str:
    """Markdown."""
    found = commands()
    listed = "\n".join(f"- [`{c.name}`](#{c.name.replace(' ', '-')}): {_first(c.summary)}" for c in found)
    return HEAD + listed + "\n\n" + "\n".join(_section(command) for command in found)


def _commands(group: Any, before: str) -> Iterator[Command]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield _command(command, before + name)


def _command(command: Any, name: str) -> Command:
    title_of = {option: title for title, options in GROUPS.items() for option in options}
    grouped = isinstance(command, GroupedCommand)
    context = typer.Context(command)
    group_of = lambda param: title_of.get(str(param.name), "Other") if grouped else ""
    options = [_option(param, context, group_of(param)) for param in command.params if not param.hidden]
    summary, _, rest = (command.help or "").partition("\b")
    examples = tuple(line.strip() for line in rest.splitlines() if line.strip().startswith("pyrogrn "))
    return Command(name, " ".join(summary.split()), tuple(options), examples)


def _option(param: Any, context: Any, group: str) -> Option:
    if param.param_type_name == "argument":
        names: tuple[str, ...] = (str(param.metavar or param.name).upper(),)
        return Option(names, "", param.nargs != 1, param.required, "", " ".join((param.help or "").split()), "")
    names = (*param.opts, *param.secondary_opts)
    return Option(
        tuple(sorted(names, key=lambda text: (text in param.secondary_opts, len(text) < 3))),
        "" if param.is_flag else _word(param, context),
        bool(param.multiple),
        bool(param.required),
        _default(param),
        " ".join((param.help or "").split()),
        group,
    )


WORDS = {"str": "TEXT", "int": "INTEGER", "path": "PATH", "float": "FLOAT"}  # as most programs print them


def _word(param: Any, context: Any) -> str:
    """What stands for the value: the last word of ``--help``'s first column, which versions of typer spell in ways of
    their own (``<list[str]>``, ``INTEGER RANGE``)."""
    kind = param.get_help_record(context)[0].partition(" ")[2].strip("<>").lower()
    return next((word for name, word in WORDS.items() if name in kind or word.lower() in kind), "TEXT")


def _default(param: Any) -> str:
    """The default as text; none of options that are off, and of those whose help says what happens without."""
    value = param.default() if callable(param.default) else param.default
    if value is None or isinstance(value, list | tuple) or param.required or str(value).startswith("Sentinel"):
        return ""
    if param.is_flag:
        return (param.opts[0] if value else "") if param.secondary_opts else ""
    return str(value)


def _first(summary: str) -> str:
    """The first sentence."""
    return summary.partition(". ")[0].rstrip(".")


def _section(command: Command) -> str:
    usage = " ".join(
        ["pyrogrn", command.name, *(f"{o.names[0]}{'...' if o.repeatable else ''}" for o in command.arguments)]
    )
    needed = " ".join(f"{o.names[0]} {o.value}" for o in command.options if o.required and o.names[0].startswith("-"))
    lines = [
        f"## {command.name}",
        "",
        f"`{' '.join(f'{usage} {needed} [OPTIONS]'.split())}`",
        "",
        _escaped(command.summary),
        "",
    ]
    titles = dict.fromkeys(option.group for option in command.options)
    for title in ("", *GROUPS, "Other"):
        rows = [option for option in command.options if option.group == title and title in titles]
        if rows:
            lines += [f"**{title}**", ""] if title else []
            lines += ["| option | default | meaning |", "|---|---|---|", *map(_row, rows), ""]
    if command.examples:
        lines += ["```bash", *command.examples, "```", ""]
    return "\n".join(lines)


def _row(option: Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.names) + (f" {option.value}" if option.value else "")
    default = "required" if option.required else f"`{option.default}`" if option.default else ""
    return f"| {names} | {default} | {_escaped(option.help)} |"


def _escaped(text: str) -> str:
    """Text in a cell of a table: bars, stars and angle brackets are letters there."""
    parts = text.split("`")
    parts[::2] = [part.replace("*", r"\*").replace("_", r"\_").replace("<", r"\<") for part in parts[::2]]
    return "`".join(parts).replace("|", r"\|")
