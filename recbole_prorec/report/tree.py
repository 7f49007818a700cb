"""The explorer of the code tree: nested <details>, which need no script."""

from html import escape

from recbole_prorec.report.elements import item

MOST_ITEMS = 20_000  # in a page; a browser unfolds no more with ease
N_HINTS = 3  # texts that a folded prefix shows


def explorer(tree, item_keys, texts):
    """tree: a `Branch`. Prefixes come in the order of codes; those behind the first MOST_ITEMS items are left out, which is said."""
    parts, n_shown = [], 0
    for code, branch in tree.children.items():
        if n_shown >= MOST_ITEMS:
            break
        parts.append(_branch((code,), branch, item_keys, texts))
        n_shown += len(branch.items)
    left_out = len(tree.items) - n_shown
    return "".join(parts) + (f"<p>{left_out} more items are left out.</p>" if left_out else "")


def _branch(prefix, branch, item_keys, texts):
    if len(branch.items) == 1:
        return f'<div class="leaf">{_code(prefix)} {item(item_keys[branch.items[0]], texts[branch.items[0]])}</div>'
    hints = "; ".join((texts[i] or item_keys[i])[:32] for i in branch.items[:N_HINTS])
    inside = "".join(_branch((*prefix, code), child, item_keys, texts) for code, child in branch.children.items())
    return (f'<details><summary>{_code(prefix)} {len(branch.items)} items <span class="small">{escape(hints)}</span></summary>'
            f"{inside}</details>")


def _code(prefix):
    return f"<code>{'-'.join(map(str, prefix))}</code>"
