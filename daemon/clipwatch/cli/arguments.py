"""An argument parser that names the nearest option, command or value where one is misspelled."""

from __future__ import annotations

import argparse
import difflib
import locale
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from clipwatch.errors import ConfigError


def as_text(word: str) -> str:
    """An argument that means text, not a file: in UTF-8, else in the locale's character set, else unchanged."""
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError:
        try:
            return os.fsencode(word).decode(locale.getencoding())
        except (UnicodeDecodeError, LookupError):  # a locale may name what Python does not know
            return word
    except UnicodeEncodeError:
        return word


class Parser(argparse.ArgumentParser):
    """Raises `ConfigError` where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """One sentence for *message*, as argparse words it."""
        raise ConfigError(f"{message[:1].upper()}{message[1:]}.", hint=f"See `{self.prog} --help`.")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Raises the `OSError` of a stream that cannot be written, which argparse would swallow."""
        (file or sys.stderr).write(message)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse, but nothing is left over: what is unknown is refused here, where its neighbours are known."""
        words = sys.argv[1:] if args is None else list(args)
        try:
            namespace, left = super().parse_known_args(words, namespace)
        except ConfigError:
            # A missing value or a surplus word is often the consequence of a misspelled option before it.
            self._refuse_unknown(word for word in self._own(words) if word.startswith("--") and word != "--")
            raise
        self._refuse_unknown(word for word in left if word.startswith("-"))
        if left:
            raise ConfigError(f"`{self.prog}` takes no {left[0]!r}.", hint=f"See `{self.prog} --help`.")
        return namespace, left

    def _own(self, words: Iterable[str]) -> Iterable[str]:
        """*words* up to the command, whose options are its own parser's."""
        commands = self.commands()
        for word in words:
            if word in commands:
                return
            yield word

    def commands(self) -> dict[str, Parser]:
        """The parser of each command, or of each action of a command; by name."""
        actions = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return {name: parser for action in actions for name, parser in action.choices.items()}

    def below(self) -> Iterator[Parser]:
        """The parsers of all commands, and of their actions."""
        for parser in self.commands().values():
            yield parser
            yield from parser.below()

    def _refuse_unknown(self, words: Iterable[str]) -> None:
        known = self._option_string_actions
        for word in words:
            name = word.partition("=")[0]
            if any(option.startswith(name) for option in known):
                continue
            raise ConfigError(f"`{self.prog}` has no option `{name}`.", hint=self._instead_of(name))

    def _instead_of(self, name: str) -> str:
        """What was meant by the unknown option *name*."""
        if any(name in parser._option_string_actions for parser in self.commands().values()):
            return f"It belongs after the command: `{self.prog} COMMAND {name}`."
        near = difflib.get_close_matches(name, self._option_string_actions, 1)
        if near:
            return f"Did you mean `{near[0]}`?"
        shown = (
            action for action in self._actions if action.option_strings and action.help not in (argparse.SUPPRESS, None)
        )
        return f"Its options are {', '.join(action.option_strings[-1] for action in shown)}."

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = "/".join(action.option_strings) or str(action.metavar or action.dest).lower()
            near = difflib.get_close_matches(str(value), [str(choice) for choice in action.choices], 1)
            hint = f"Did you mean `{near[0]}`? " if near else f"Known are: {', '.join(map(str, action.choices))}. "
            raise ConfigError(f"Unknown {what} {value!r}.", hint=f"{hint}See `{self.prog} --help`.")
