"""Makes a page of a template: one file with its styles and scripts, and the policy that nothing else may run.

Knows templates; knows nothing of what they show.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def render(
    template: str, *, styles: Sequence[str], scripts: Sequence[str] = (), library: str = "", **values: Any
) -> str:
    """Render a template with its stylesheets and scripts, and the policy that lets only these run.

    Args:
        styles, scripts: names of files beside the template, in their order.
        library: source of a script that runs before them, "" for none.
        values: what the template shows; all text of it is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ictc.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=format_percent, thousands="{:,}".format)
    script = join_scripts(scripts)
    return environment.get_template(template).render(
        **values,
        style=Markup("".join(map(read_template, styles))),
        library=Markup(library),
        script=Markup(script),
        policy=build_policy([part for part in (library, script) if part]),
    )


def format_percent(share: float) -> str:
    """Return a share in whole percent; what is there is never "0%"."""
    return "<1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def build_policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy: no network, no script but `scripts`, images from the page itself."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    # Bokeh styles its parts from its script, hence inline styles; no text of the data ever becomes one.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def join_scripts(names: Sequence[str]) -> str:
    """Return the page's own script, "" if it has none."""
    return "(() => {\n'use strict';\n" + "\n".join(map(read_template, names)) + "\n})();" if names else ""


def read_template(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (resources.files("ictc.report") / "templates" / name).read_text(encoding="utf-8")
