"""What the page shows of results, as HTML that holds its pictures and asks for nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from torch import Tensor

from page.desk import Made, Request, RunFacts
from page.film import Film
from page.given import data_url, png
from tasks.outputs import read_settings

FRAMES = 10
"""Of the chain that is shown below the results."""


def error(line: str) -> str:
    """Give a mistake as a line of the page."""
    return f'<p class="error" role="alert">{escape(line)}</p>'


def header(run: RunFacts, told: str) -> str:
    """Give the name of a run over its row, and what goes on or how it was made."""
    return (
        f"<h3>{escape(run.name)} <small>{escape(run.about)}</small></h3>"
        f'<p class="told">{escape(told)}</p>'
    )


def figure(picture: bytes, caption: str, kind: str = "", file: str = "") -> str:
    """Give a picture with its caption, and where ``file`` is its name a link that saves it."""
    url = data_url(picture)
    link = f' <a class="save" download="{escape(file)}" href="{url}">PNG</a>' if file else ""
    return (
        f'<figure class="{kind}"><img src="{url}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}{link}</figcaption></figure>"
    )


def in_the_making(run: RunFacts, film: Film, seconds: float) -> str:
    """Give the row of a run that is at work: what its images look like by now."""
    steps = max((len(frames) for frames in film.images), default=0)
    told = f"at work for {seconds:.0f} s" + (", what it expects so far:" if steps else "")
    shown = [figure(png(image), f"image {k + 1}") for k, image in enumerate(list(film.latest))]
    row = "".join(shown) or '<figure class="empty"></figure>'
    return f'<section class="run working">{header(run, told)}<div class="row">{row}</div></section>'


def results(run: RunFacts, request: Request, made: Made, film: Film, seconds: float) -> str:
    """Give the row of a run that is done: its images, their settings and how the first came."""
    told = f"{request.task}, {len(made.images)} images in {seconds:.1f} s"
    shown = [] if made.seen is None else [figure(made.seen, "the model saw", "seen")]
    for k, (caption, image) in enumerate(zip(made.captions, made.images, strict=True)):
        name = f"{file_name(run.name)}_{request.task}_seed{request.seed}_{k:02d}.png"
        shown.append(figure(image, caption, "result", name))
    warning = f'<p class="warning">{escape(made.warning)}</p>' if made.warning else ""
    return (
        f'<section class="run">{header(run, told)}{warning}<div class="row">{"".join(shown)}</div>'
        f"{chain(film, made)}{settings(made)}</section>"
    )


def file_name(name: str) -> str:
    """Give a run's name as a part of a file's."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".")


def chain(film: Film, made: Made) -> str:
    """Give how the first image came about, where the model showed it."""
    frames: Sequence[Tensor] = film.strip(0, FRAMES)
    if len(frames) < 2:
        return ""
    shown = "".join(f'<img src="{data_url(png(frame))}" alt="">' for frame in frames)
    last = f'<img src="{data_url(made.images[0])}" alt="">'
    return (
        f'<div class="chain"><span>how {escape(made.captions[0])} came about</span>'
        f"<div>{shown}{last}</div></div>"
    )


def settings(made: Made) -> str:
    """Give the settings that the first image's file holds, folded."""
    text = json.dumps(read_settings(made.images[0]), indent=1)
    return (
        f"<details><summary>settings, as in each file</summary><pre>{escape(text)}</pre></details>"
    )
