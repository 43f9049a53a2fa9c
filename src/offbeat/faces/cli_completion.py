"""`offbeat completion`: the script that makes a shell complete commands, options and entry names."""

from __future__ import annotations

import click

from offbeat.faces.cli_session import Command


@click.command(
    cls=Command,
    examples=(
        'eval "$(offbeat completion bash)"        in ~/.bashrc',
        'eval "$(offbeat completion zsh)"         in ~/.zshrc',
        "offbeat completion fish > ~/.config/fish/completions/offbeat.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    maker = kind(ctx.find_root().command, {}, "offbeat", "_OFFBEAT_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())
