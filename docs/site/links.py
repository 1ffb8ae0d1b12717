"""A mkdocs hook: a page looks as on GitHub, with the files that it links to outside `docs/`.

GitHub shows every file of the repository, the site only `docs/`. A linked file is copied to
`repository/` with its path, and the link on the page is rewritten to the copy. In code in a
table GitHub writes a bar for a bar behind a backslash; so does this hook.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

# A Markdown link that leaves its folder: the text before the path, the path, the anchor.
OUTWARD = re.compile(r"(\]\()((?:\.\./)[^)\s#]+)(#[^)\s]*)?(?=[)\s])")
ROW = re.compile(r"^\|.*\|[ \t]*$", re.MULTILINE)
CODE = re.compile(r"(`+)[^`].*?\1")


def with_bars(markdown: str) -> str:
    r"""Return the page with `\|` in the code of its tables as the bar that it stands for.

    >>> print(with_bars(r"| `a \| b` | c |"))
    | `a | b` | c |
    """

    def plain(row: re.Match[str]) -> str:
        return CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0])

    return ROW.sub(plain, markdown)


def outside(page: str, link: str) -> str | None:
    """Return the path in the repository that a page of `docs/` links to, or None if inside `docs/`.

    >>> outside("rules.md", "../benchmarks/results/rules.json")
    'benchmarks/results/rules.json'
    >>> outside("reference/metrics.md", "../operations.md")
    """
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith("docs/") else path


def linked_outside(page: str, markdown: str) -> Iterator[str]:
    """Yield the path in the repository of each file outside `docs/` that a page links to."""
    for _, link, _ in OUTWARD.findall(markdown):
        if (path := outside(page, link)) is not None:
            yield path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside `docs/` that the pages link to.

    Raises:
        PluginError: a linked file does not exist.
    """
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    root = Path(config.docs_dir).parent
    pages = list(files.documentation_pages())
    for page in pages:
        for path in linked_outside(page.src_uri, page.content_string):
            if not (root / path).is_file():
                raise PluginError(f"docs/{page.src_uri} links to {path}, which does not exist")
            if files.get_file_from_path(f"repository/{path}") is None:
                files.append(
                    File.generated(config, f"repository/{path}", abs_src_path=str(root / path))
                )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page that leave `docs/` to point to the copies."""
    uri = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        path = outside(uri, match[2])
        if path is None:
            return match[0]
        copy = posixpath.relpath(f"repository/{path}", posixpath.dirname(uri) or ".")
        return f"{match[1]}{copy}{match[3] or ''}"

    return with_bars(OUTWARD.sub(led, markdown))
