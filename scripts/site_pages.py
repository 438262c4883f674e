"""Pages of the documentation site that are written from the code: one for each command and one for each module.

MkDocs calls the functions of this file (`hooks` in mkdocs.yml). Nothing is written to docs/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from markdown import Extension, Markdown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from symphony2vec.cli import cli

HELP_WIDTH = 90
SOURCE = Path(__file__).resolve().parents[1] / "src"
GUIDES = {  # command: the page that explains it
    **dict.fromkeys(["audio", "clips", "features", "probe", "report", "results"], "outputs"),
    **dict.fromkeys(["classifiers", "embeddings", "ali"], "results"),
    **dict.fromkeys(["promote", "rollback", "champions"], "registry"),
    **dict.fromkeys(["embed", "similar", "path", "contrasts", "classify", "describe", "atlas"], "using"),
    "corpus": "importing", "labels": "labels", "meaning": "meaning", "params": "experiments", "runs": "scaling",
    "pretrained": "base", "serve": "serving", "study": "studies", "temporal": "temporal",
}  # fmt: skip


class PlainText(Extension):
    """Shows `out/<stage>/` as it is written: what looks like an HTML tag is text."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Remove the recognition of HTML."""
        md.preprocessors.deregister("html_block")
        md.inlinePatterns.deregister("html")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the generated pages to the navigation."""
    config.markdown_extensions.append(PlainText())
    commands = [{name: f"commands/{name}.md"} for name in cli.commands]
    packages: dict[str, list[dict[str, str]]] = {}
    for module in list_modules():
        _, package, *rest = module.split(".")
        packages.setdefault(package, []).append({".".join(rest) or package: f"api/{module}.md"})
    modules = [{package: pages} if len(pages) > 1 else pages[0] for package, pages in sorted(packages.items())]
    config.nav = [*(config.nav or []), {"Commands": commands}, {"Python": modules}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    for name, command in cli.commands.items():
        guide = Path(config.docs_dir, f"{GUIDES[name]}.md").read_text(encoding="utf-8").splitlines()[0].strip("# ")
        link = f"Guide: [{guide}](../{GUIDES[name]}.md)"
        content = f"{describe(command, click.Context(cli, info_name='symphony2vec'), name)}\n{link}\n"
        files.append(File.generated(config, f"commands/{name}.md", content=content))
    for module in list_modules():
        files.append(File.generated(config, f"api/{module}.md", content=f"::: {module}\n"))
    return files


def describe(command: click.Command, parent: click.Context, name: str, heading: str = "#") -> str:
    """Return the help of a command and of its subcommands as Markdown, as `--help` prints it."""
    context = click.Context(command, parent, name, terminal_width=HELP_WIDTH, help_option_names=["-h", "--help"])
    parts = [f"{heading} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"]
    subcommands: dict[str, click.Command] = getattr(command, "commands", {})
    parts += [describe(subcommand, context, name, f"{heading}#") for name, subcommand in subcommands.items()]
    return "\n".join(parts)


def list_modules() -> Iterator[str]:
    """Yield the names of all public modules; the commands have pages of their own."""
    for path in sorted(SOURCE.glob("symphony2vec/**/*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if "cli" not in parts and len(parts) > 1 and not any(part.startswith("_") for part in parts):
            yield ".".join(parts)
