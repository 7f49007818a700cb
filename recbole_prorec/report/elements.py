"""Pieces of HTML. Whatever comes from data goes through `escape`."""

from html import escape

LONGEST_TEXT = 120


def table(header, rows):
    """Cells are text or numbers; they are escaped here."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(png, about):
    """png: in base64."""
    about = escape(about)
    return f'<figure><img src="data:image/png;base64,{png}" alt="{about}"><figcaption>{about}</figcaption></figure>'


def item(key, text):
    """An item by its text, its key behind it."""
    text = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT - 1] + "…"
    return f'{escape(text)} <span class="small">{escape(key)}</span>' if text and text != key else escape(key)


def definitions(pairs):
    return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs) + "</dl>"


def paragraph(text):
    return f"<p>{escape(text)}</p>"
