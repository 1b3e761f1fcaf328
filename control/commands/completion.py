"""Scripts that complete the commands, their options and the processes of the running system in a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["SHELLS", "script"]

SHELLS = ("bash", "zsh", "fish")
_PROCESSES = ("ps", "info", "restart", "terminate", "start", "suspend", "resume", "call", "send", "logs")
"""Commands whose first argument is a process."""

_BASH = """\
# bash completion for resprout; load it with: source <(resprout completion bash)
_resprout_processes() {{
    # Not by compgen -W, which would expand what stands in the lines, and run what looks like a command.
    local word="$1" line quoted
    while IFS= read -r line; do
        printf -v quoted %q "$line"
        [[ $line == "$word"* || $quoted == "$word"* ]] && COMPREPLY+=("$quoted")
    done < <(resprout ps --paths 2>/dev/null)
}}
_resprout_files() {{
    local line
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(compgen -f -- "$1")
}}
_resprout() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{options}
    esac
    case "$word" in
        -*) COMPREPLY=($(compgen -W "$words" -- "$word")); return ;;
    esac
    case "${{COMP_WORDS[1]}}" in
        {processes}) _resprout_processes "$word" ;;
        *) _resprout_files "$word" ;;
    esac
}}
complete -F _resprout resprout
"""

_ZSH = """\
#compdef resprout
# zsh completion for resprout; load it with: source <(resprout completion zsh)
_resprout() {{
    local -a words_here
    if (( CURRENT == 2 )); then
        compadd -- {commands} --help --version
        return
    fi
    case "$words[2]" in
{options}
    esac
    if [[ "$words[CURRENT]" == -* ]]; then
        compadd -- $words_here
        return
    fi
    case "$words[2]" in
        {processes}) compadd -- ${{(f)"$(resprout ps --paths 2>/dev/null)"}} ;;
        *) _files ;;
    esac
}}
compdef _resprout resprout
"""

_FISH = """\
# fish completion for resprout; load it with: resprout completion fish | source
complete -c resprout -n __fish_use_subcommand -f -a "{commands}"
complete -c resprout -n "__fish_seen_subcommand_from {processes}" -f -a "(resprout ps --paths 2>/dev/null)"
{options}
"""


def script(shell: str, options: Mapping[str, Sequence[str]]) -> str:
    """The script for a shell.

    Args:
        shell: One of SHELLS.
        options: The options of each command, with their dashes.
    """
    commands = " ".join(options)
    if shell == "bash":
        lines = [f'        {name}) words="{" ".join(words)}" ;;' for name, words in options.items()]
        return _BASH.format(commands=commands, options="\n".join(lines), processes="|".join(_PROCESSES))
    if shell == "zsh":
        lines = [f"        {name}) words_here=({' '.join(words)}) ;;" for name, words in options.items()]
        return _ZSH.format(commands=commands, options="\n".join(lines), processes="|".join(_PROCESSES))
    lines = [
        f'complete -c resprout -n "__fish_seen_subcommand_from {name}" -l {word[2:]}'
        for name, words in options.items()
        for word in words
        if word.startswith("--")
    ]
    return _FISH.format(commands=commands, options="\n".join(lines), processes=" ".join(_PROCESSES))
