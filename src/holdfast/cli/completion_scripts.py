"""Completion scripts from a grammar: one function a shell, text out.

All three do the same. (1) They walk the words before the cursor for the command that is being written, and pass over
the values of options, so that `--model serve` is not taken for a command. (2) Behind an option that takes a value they
offer its values, or files, or folders, or nothing where nobody can list what goes there. (3) Else they offer options to
a word that begins with a dash, and commands, values or files to any other.

Nothing runs holdfast while a person waits for Tab: what a shell knows is what was true when the script was printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from holdfast.cli.grammar import Grammar, Kind, Option, Place


def bash(grammar: Grammar) -> str:
    """Write the script for bash; it asks for no package of completions, and runs in 3.2, as macOS has it."""
    takes, offers, words, behind = [], [], [], []
    for path, command in grammar.walk():
        takes += [f'"{path} {name}"' for option in _valued(command) for name in option.names]
        behind += [f'"{path}:{own.name}") path="{f"{path} {own.name}".strip()}" ;;' for own in command.commands]
        for option in _valued(command):
            spelled = "|".join(f'"{path} {name}"' for name in option.names)
            offers.append(f"{spelled}) {_bash_offer(option.value)} ;;")
        names = " ".join(name for option in command.options for name in option.names)
        subjects = _subjects(command)
        words.append(f'"{path}") options="{names}"; {_bash_subject(subjects)} ;;')
    return _BASH.format(
        takes="|".join(takes),
        behind=_indented(behind, 12),
        offers=_indented(offers, 8),
        words=_indented(words, 8),
    )


_BASH = """\
# Completion of holdfast for bash, made by `holdfast completion bash`.

_holdfast_words() {{
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "${{1// /$IFS}}" -- "$2"))
}}

_holdfast_paths() {{
    local IFS=$'\\n'
    # Spaces in names are then quoted, and folders get their slash; 3.2 knows no compopt.
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "$1" -- "$2"))
}}

_holdfast() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local path="" word="" options="" index skips=""
    COMPREPLY=()
    # Bash breaks words at "=": --size=4K is three of them.
    if [[ "$current" == "=" ]]; then
        current=""
    elif [[ "$before" == "=" ]]; then
        before="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    for ((index = 1; index < COMP_CWORD; index++)); do
        word="${{COMP_WORDS[index]}}"
        if [[ "$word" == "=" ]]; then
            skips=1
        elif [[ -n "$skips" ]]; then
            skips=""
        else
            case "$path $word" in
                {takes}) skips=1; continue ;;
            esac
            case "$path:$word" in
            {behind}
            esac
        fi
    done
    case "$path $before" in
        {offers}
    esac
    case "$path" in
        {words}
    esac
    if [[ "$current" == -* ]]; then
        _holdfast_words "$options" "$current"
    fi
}}

complete -F _holdfast holdfast
"""


def _bash_offer(place: Place) -> str:
    match place.kind:
        case Kind.FILE:
            return '_holdfast_paths -f "$current"; return'
        case Kind.FOLDER:
            return '_holdfast_paths -d "$current"; return'
        case _ if place.choices:
            return f'_holdfast_words "{" ".join(place.choices)}" "$current"; return'
        case _:
            return "return"


def _bash_subject(place: Place) -> str:
    if place.kind is Kind.WORD and not place.choices:
        return ":"
    return f'[[ "$current" == -* ]] || {{ {_bash_offer(place)}; }}'


def zsh(grammar: Grammar) -> str:
    """Write the script for zsh: sourced after `compinit`, or as `_holdfast` in a folder of `fpath`."""
    functions = [_zsh_function(path, command) for path, command in grammar.walk()]
    return _ZSH.format(functions="\n".join(functions))


_ZSH = """\
#compdef holdfast
# Completion of holdfast for zsh, made by `holdfast completion zsh`.

{functions}
# As a function of fpath this file is the function's body; sourced, it announces it.
if [[ "$funcstack[1]" == "_holdfast" ]]; then
    _holdfast "$@"
else
    compdef _holdfast holdfast
fi
"""


def _zsh_function(path: str, command: Grammar) -> str:
    name = "_".join(["_holdfast", *path.split()])
    specs = [_zsh_option(option) for option in command.options]
    lines = [f"{name}() {{"]
    if command.commands:
        described = [_quoted(f"{own.name}:{own.means}") for own in command.commands]
        specs += ["'1:command:->command'", "'*::argument:->argument'"]
        chosen = [f"{own.name}) {name}_{own.name} ;;" for own in command.commands]
        lines += [
            "    local curcontext=$curcontext state line",
            "    local -a commands=(",
            *(f"        {each}" for each in described),
            "    )",
            "    _arguments -C \\",
            *(f"        {spec} \\" for spec in specs[:-1]),
            f"        {specs[-1]}",
            "    case $state in",
            "        command) _describe -t commands command commands ;;",
            "        argument) case $line[1] in",
            *(f"            {each}" for each in chosen),
            "        esac ;;",
            "    esac",
        ]
    else:
        specs += [
            _quoted(f"{'*' if place.repeats else at}:{'value' if place.choices else 'argument'}:{_zsh_action(place)}")
            for at, place in enumerate(command.places, 1)
        ]
        lines += ["    _arguments \\", *(f"        {spec} \\" for spec in specs[:-1]), f"        {specs[-1]}"]
    return "\n".join([*lines, "}", ""])


def _zsh_option(option: Option) -> str:
    means = option.means.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    # An equals sign after a long name: its value may follow either way.
    names = [
        f"{name}=" if option.value.kind is not Kind.NOTHING and name[:2] == "--" else name for name in option.names
    ]
    value = "" if option.value.kind is Kind.NOTHING else f":value:{_zsh_action(option.value)}"
    # One of two names excludes the other, unless the option may be given again.
    if option.value.repeats:
        return " ".join(_quoted(f"*{name}[{means}]{value}") for name in names)
    excluded = f"({' '.join(option.names)})" if len(names) > 1 else ""
    return " ".join(_quoted(f"{excluded}{name}[{means}]{value}") for name in names)


def _zsh_action(place: Place) -> str:
    match place.kind:
        case Kind.FILE:
            return "_files"
        case Kind.FOLDER:
            return "_files -/"
        case _ if place.choices:
            return f"({' '.join(choice.replace(':', chr(92) + ':') for choice in place.choices)})"
        case _:
            # One blank: there is a value, and nothing to offer for it.
            return " "


def fish(grammar: Grammar) -> str:
    """Write the script for fish: sourced, or as `holdfast.fish` in a folder of completions."""
    takes = [f'"{path} {name}"' for path, own in grammar.walk() for option in _valued(own) for name in option.names]
    behind = [
        f'case "{path}:{own.name}"\n                set path "{f"{path} {own.name}".strip()}"'
        for path, command in grammar.walk()
        for own in command.commands
    ]
    lines: list[str] = []
    for path, command in grammar.walk():
        here = f"complete -c holdfast -n '__holdfast_at \"{path}\"'"
        lines += [f"{here} -f -a {_quoted(own.name)} -d {_quoted(own.means)}" for own in command.commands]
        lines += [f"{here} {_fish_option(option)}" for option in command.options]
        if command.places:
            lines.append(f"{here} {_fish_value(_subjects(command))}")
    return _FISH.format(takes=" ".join(takes), behind="\n            ".join(behind), lines="\n".join(lines))


_FISH = """\
# Completion of holdfast for fish, made by `holdfast completion fish`.

function __holdfast_at
    set -l words (commandline -opc)
    set -l path ""
    set -l skips 0
    for word in $words[2..-1]
        if test $skips = 1
            set skips 0
            continue
        end
        switch "$path $word"
            case {takes}
                set skips 1
                continue
        end
        switch "$path:$word"
            {behind}
        end
    end
    test "$path" = "$argv[1]"
end

complete -c holdfast -f
{lines}
"""


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    value = "-f" if option.value.kind is Kind.NOTHING else f"-r {_fish_value(option.value)}"
    return f"{' '.join(names)} {value} -d {_quoted(option.means)}"


def _fish_value(place: Place) -> str:
    match place.kind:
        case Kind.FILE:
            return "-F"
        case Kind.FOLDER:
            return "-f -a '(__fish_complete_directories)'"
        case _ if place.choices:
            return f"-f -a {_quoted(' '.join(place.choices))}"
        case _:
            return "-f"


SCRIPTS: Mapping[str, Callable[[Grammar], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""By the shell's name."""


def _valued(command: Grammar) -> list[Option]:
    return [option for option in command.options if option.value.kind is not Kind.NOTHING]


def _subjects(command: Grammar) -> Place:
    """Say what may stand where no option is: commands, values, files, or what nobody can list."""
    choices = tuple(own.name for own in command.commands) + tuple(
        choice for place in command.places for choice in place.choices
    )
    if choices:
        return Place(kind=Kind.WORD, choices=choices)
    return command.places[0] if command.places else Place(kind=Kind.WORD)


def _quoted(text: str) -> str:
    """Quote for any of the three: a quote inside is closed, escaped, opened again."""
    return "'" + text.replace("'", "'\\''") + "'"


def _indented(lines: Iterable[str], columns: int) -> str:
    return f"\n{' ' * columns}".join(lines)
