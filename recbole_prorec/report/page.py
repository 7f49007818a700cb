"""The page of a report: one HTML file that needs nothing beside itself."""

from base64 import b64encode
from html import escape

from recbole_prorec.report import sections
from recbole_prorec.report.elements import figure

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; padding: 1rem; max-width: 62rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; font-size: 1.25rem; }
h3 { font-size: 1rem; }
p, dd { max-width: 46rem; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
nav a { display: inline-block; margin-right: .9rem; padding: .3rem 0; } a { color: #0b57a4; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; align-items: start; }
figure { margin: 0; max-width: 32rem; } img { max-width: 100%; height: auto; display: block; } figcaption, .small { font-size: .85rem;
  color: #555; }
.table { overflow-x: auto; max-width: 100%; } table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e3e3e3; overflow-wrap: normal; vertical-align: top; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
summary { cursor: pointer; padding: .2rem 0; } details details { margin-left: .9rem; } .leaf { padding: .2rem 0 .2rem .95rem; }
details .leaf { margin-left: .9rem; } code { background: #f1f1f1; padding: 0 .25rem; border-radius: 3px; }
.hit { font-weight: 600; } .columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0 2rem; }
"""


def make_page(source, numbers, images):
    """The HTML of a report.

    Args:
        source: a `Source`. numbers: of `all_numbers`. images: {file name: (bytes of a PNG, what it shows)}.
    """
    title = f"{numbers['model']} on {numbers['settings']['dataset']}"

    def shown(prefix):
        names = [name for name in images if name.startswith(prefix)]
        return '<div class="figures">' + "".join(figure(b64encode(images[name][0]).decode(), images[name][1]) for name in names) + "</div>"

    parts = [(anchor, heading, make(source, numbers, shown)) for anchor, heading, make in sections.ALL]
    links = "".join(f'<a href="#{anchor}">{heading}</a>' for anchor, heading, _ in parts)
    body = "".join(f'<section id="{anchor}"><h2>{heading}</h2>{content}</section>' for anchor, heading, content in parts)
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
            f'<p class="small">{escape(numbers["checkpoint"])}</p><nav>{links}</nav>{body}</body></html>\n')
