"""Complete a command line on TAB: the commands, and what Hydra completes of one's overrides."""

from octopi.config.files import COMMANDS

# bash splits a word at "=" and ":" and wants only what comes after; readline adds the start.
SCRIPT = f"""\
_octopi() {{
    local line="${{COMP_LINE:0:COMP_POINT}}"
    local word="${{line##*[[:space:]]}}" typed=($line) IFS=$' \\t\\n'
    if [[ ${{#typed[@]}} -le 1 || (${{#typed[@]}} == 2 && -n "$word") ]]; then
        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)}" -- "$word"))
        return
    fi
    line="${{line#*[[:space:]]}}"
    COMPREPLY=($(COMP_LINE="$line" "$1" "${{typed[1]}}" -sc query=bash 2>/dev/null))
    COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*[=:]}}"}}"}}")
    if [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *[=.] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -o default -F _octopi octopi
"""
