"""What the site is made of besides its pages: what their examples print and draw, pictures of the paper, formulas.

Every example of a page runs where the site is built, in a folder of its own; what it prints and the pictures that it
writes stand below it. An example that fails ends the build. With LYAPFLOW_SITE_EXAMPLES=0 none is run."""

import contextlib
import html
import io
import os
import re
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import latex2mathml.converter
import matplotlib
import typer
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from typer.cli import get_docs_for_click

from lyapflow.cli.app import app

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "validation" / "paper" / "results" / "night"
BLOCK = re.compile(r"```python(?: (\w+))?\n(.*?)```\n", re.DOTALL)
HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
# that of the tests; Keras's own default is TensorFlow
os.environ.setdefault("KERAS_BACKEND", "torch")
RUN = os.environ.get("LYAPFLOW_SITE_EXAMPLES", "1") != "0"
COMMANDS = "<!-- commands -->"
COMMAND = typer.main.get_command(app)
made: dict[str, bytes] = {}  # pictures of examples, by their place in the site


def on_files(files, config):
    """Pictures of the paper, which lie beside what draws them."""
    for picture in sorted(PICTURES.glob("*.png")):
        files.append(File.generated(config, f"figures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    stem = Path(page.file.src_uri).stem
    markdown = re.sub(r"\]\(\.\./validation/paper/results/night/", "](figures/", markdown)
    # what lies outside of the site is named
    markdown = re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2`)", markdown)
    number = 0

    def with_output(found):
        nonlocal number
        library, code = found.groups()
        number += 1
        shown = f"```python\n{code}```\n"
        if not RUN:
            return shown
        if library is not None and find_spec(library) is None:
            return (
                f"{shown}\n*(What it prints is missing: this site was built without {library}.)*\n"
            )
        printed, pictures = _run(code, f"{stem}-{number}")
        heading = [page.title, *HEADING.findall(found.string[: found.start()])][-1]
        for name, data in pictures.items():
            made[f"made/{stem}-{number}-{name}"] = data
            shown += f"\n![Picture drawn by these lines: {heading}](made/{stem}-{number}-{name})\n"
        if printed.strip():
            shown += (
                f'\n<div class="output" markdown>\n\n```text\n{printed.rstrip()}\n```\n\n</div>\n'
            )
        return shown

    markdown = BLOCK.sub(with_output, markdown)
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, _commands())
    for place, data in made.items():
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, content=data))
    return markdown


def _commands():
    """All commands and their options."""
    context = typer.Context(COMMAND, info_name="lyapflow")
    return get_docs_for_click(obj=COMMAND, ctx=context, name="lyapflow").partition("\n")[2]


def _run(code, name):
    """What an example prints, and the pictures that it writes."""
    matplotlib.use("Agg")
    matplotlib.rcParams["savefig.dpi"] = 160  # sharp on screens of many pixels
    printed, before = io.StringIO(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(code, name, "exec"), {"__name__": "__main__"})
        except Exception as error:
            raise PluginError(f"example {name} failed: {error!r}") from error
        finally:
            os.chdir(before)
        found = sorted(path for path in Path(folder).glob("*.*") if path.suffix in (".png", ".svg"))
        return printed.getvalue(), {path.name: path.read_bytes() for path in found}


def on_page_content(content, page, config, files):
    """Formulas of docstrings as MathML, which browsers show without a script."""

    def formula(found):
        latex = html.unescape(" ".join(found.group(1).split()))
        return latex2mathml.converter.convert(latex, display="block")

    content = re.sub(r"<p>\.\. math::\s*(.*?)</p>", formula, content, flags=re.DOTALL)
    inline = lambda found: latex2mathml.converter.convert(html.unescape(found.group(1)))  # noqa: E731
    return re.sub(r":math:<code>(.*?)</code>", inline, content)
