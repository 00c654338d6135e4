"""Build wheel and sdist of a release, and try them.

    python -m validation.release [--repository URL] [--out FOLDER]

In a copy of what is committed: with the address of the repository README's links are made absolute,
since it is the package's page on an index, and the package names it. Then `build` and `twine check
--strict` run in a fresh environment, and the wheel and the sdist are installed in one more each, where
README's ten lines and `lyapflow --version` run. Exit code 1 where something fails. Four minutes."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCAL = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repository", help="Address of the repository, for links and metadata.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "dist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tree = copied(place / "tree")
        if arguments.repository:
            name_repository(tree, arguments.repository.rstrip("/"))
        python = environment(place / "building", "build", "twine")
        run(python, "-m", "build", str(tree), "--outdir", str(place / "dist"))
        made = sorted((place / "dist").iterdir())
        run(python, "-m", "twine", "check", "--strict", *map(str, made))
        for file in made:
            fresh = environment(place / f"trying-{file.suffix[1:]}", str(file))
            run(fresh, "-c", first_lines(), cwd=place)
            run(fresh, "-m", "lyapflow", "--version", cwd=place)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for file in made:
            shutil.copy(file, arguments.out)
            print(arguments.out / file.name)
    return 0


def copied(to: Path) -> Path:
    """What is committed, in a folder of its own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(to)], check=True)
    return to


def name_repository(tree: Path, address: str) -> None:
    """Absolute links in README, and the address in the package's metadata."""
    readme = tree / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = LOCAL.sub(lambda found: f"]({address}/blob/main/{found.group(1)})", text)
    text = text.replace(
        f"]({address}/blob/main/docs/lyapflow-demo.png)",
        f"]({address}/raw/main/docs/lyapflow-demo.png)",
    )
    readme.write_text(text, encoding="utf-8")
    settings = tree / "setup.cfg"
    urls = f"project_urls =\n    Source = {address}\n    Changelog = {address}/blob/main/CHANGELOG.md\n"
    given = settings.read_text(encoding="utf-8")
    settings.write_text(
        given.replace("license = MIT\n", f"license = MIT\n{urls}"), encoding="utf-8"
    )


def environment(place: Path, *packages: str) -> Path:
    """The interpreter of a fresh environment with these packages."""
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", *packages)
    return python


def first_lines() -> str:
    """README's ten lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]


def run(python: Path, *words: str, cwd: Path | None = None) -> None:
    print("$", "python", *(word.splitlines()[0][:60] for word in words), flush=True)
    subprocess.run([str(python), *words], check=True, cwd=cwd)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"failed: exit code {error.returncode}")
        sys.exit(1)
