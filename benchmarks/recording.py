"""
The recording of the demo: `python -m benchmarks.recording` runs it and draws what it printed.

The picture has the style of the documentation's other pictures. It plays four times as fast as the run did, and
stands still for readers who want no motion.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

from html import escape
from pathlib import Path
from typing import Final


ASSETS: Final = Path(__file__).parents[1] / "docs" / "assets"
_STYLE: Final = re.compile(r"<style>.*?</style>", re.DOTALL)
#: A step, and a line of the summary. A terminal shows a bar in place of the lines of requests.
_STEP: Final = re.compile(r"^ *([\d.]+) s  (?!requests)(\S+) +(.+)$", re.MULTILINE)
_ROW: Final = re.compile(r"│ (.+?) +│ +(.+?) │")
#: Characters of a line, and pixels.
_COLUMNS: Final = 41
_WIDTH, _MARGIN, _INDENT = 400, 16, 80
_LINE, _PARAGRAPH = 17, 22
_SPEED: Final = 4


def draw(output: str) -> str:
    """Return the picture of a run that printed *output*."""
    parts = [f'<text class="quiet" x="{_MARGIN}" y="28">$ taxizer-async demo</text>']
    top, seconds = 28, 0.0
    for time, phase, text in _STEP.findall(output):
        top, seconds = top + _PARAGRAPH, float(time)
        parts += [
            _begin_group(seconds),
            f'<text class="quiet end" x="{_INDENT - 14}" y="{top}">{time} s</text>',
            f'<text class="name phase" x="{_INDENT}" y="{top}">{phase}</text>',
        ]
        for line in textwrap.wrap(text, _COLUMNS):
            top += _LINE
            parts.append(f'<text x="{_INDENT}" y="{top}">{escape(line)}</text>')
        parts.append("</g>")
    parts.append(_begin_group(seconds + 1))
    for name, value in _ROW.findall(output):
        top += _PARAGRAPH
        parts += [
            f'<path class="hair" d="M{_INDENT} {top - 8}H{_WIDTH - _MARGIN}"/>',
            f'<text x="{_INDENT}" y="{top + 8}">{escape(name)}</text>',
            f'<text class="name end" x="{_WIDTH - _MARGIN}" y="{top + 8}">{escape(value)}</text>',
        ]
    parts.append("</g>")
    return _frame("\n".join(parts), top + _PARAGRAPH)


def _begin_group(seconds: float) -> str:
    return f'<g class="step" style="animation-delay: {seconds / _SPEED:.2f}s">'


def _frame(content: str, height: int) -> str:
    style = _STYLE.findall((ASSETS / "rooms.svg").read_text("utf-8"))[0]
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="480" height="{height * 1.2:.0f}" role="img" aria-labelledby="title desc">
<title id="title">A run of taxizer-async demo</title>
<desc id="desc">A login, a renewal before the token expires, a revocation, an outage of the login, and a summary.</desc>
{style}
<style>
.phase {{ fill: var(--accent); }}
@media (prefers-reduced-motion: no-preference) {{ .step {{ animation: show .2s both; }} }}
@keyframes show {{ from {{ opacity: 0; }} }}
</style>
<rect class="ground" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>
<g class="code" font-size="12">
{content}
</g>
</svg>
"""


def main() -> None:
    """Run the demo, and replace its picture."""
    command = [sys.executable, "-m", "taxizer_async", "demo"]
    done = subprocess.run(
        command,
        env=os.environ | {"COLUMNS": "100"},
        stdout=subprocess.PIPE,
        check=True,
        encoding="utf-8",
    )
    (ASSETS / "demo.svg").write_text(draw(done.stdout), "utf-8")


if __name__ == "__main__":
    main()
