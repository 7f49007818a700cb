"""Item fields -> one string per item, with every character as it stands in the file."""

import logging
from functools import lru_cache
from string import Formatter

from recbole_prorec.errors import InputError

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
CLOSING = ")]}>»”’"  # go with the field before them
SEPARATING = " \t\n.,;:!?|/·•–—-"  # stand between two fields, and go with either
N_NAMED = 5  # how many items a log line names

logger = logging.getLogger(__name__)


def read_header(item_file, separator="\t", encoding="utf-8"):
    """The fields of an atomic file and their types, in file order."""
    _, header = next(_lines(item_file, encoding), (1, ""))
    if header.startswith("\ufeff"):
        raise InputError(f"{item_file} begins with a byte order mark, which RecBole takes for a part of the first name. Save it without, "
                         "or set encoding: utf-8-sig.")
    fields = [field.rpartition(":")[::2] for field in header.split(separator)]
    names = [name for name, _ in fields]
    if any(not name or kind not in FIELD_TYPES for name, kind in fields) or len(set(names)) < len(names):
        raise InputError(f"{item_file}, line 1: expected different fields written as name:type, a type being one of "
                         f"{', '.join(FIELD_TYPES)}, and {separator!r} between them; found {header[:200]!r}. Mend the first line.")
    return dict(fields)


def read_item_fields(item_file, separator="\t", encoding="utf-8", item_id_field="item_id"):
    """The rows of an atomic .item file by item key: item key -> {field: text}.

    Nothing is unquoted, split or joined: RecBole's own reader does all three, and text would not come out as it was written.
    """
    names = list(read_header(item_file, separator, encoding))
    if item_id_field not in names:
        raise InputError(f"{item_file} has no field {item_id_field!r}; its fields are {', '.join(names)}. "
                         "Rename the one with the item keys, or set ITEM_ID_FIELD.")
    rows, line_of, n_repeated = {}, {}, 0
    for number, line in _lines(item_file, encoding):
        if number == 1 or not line:  # RecBole's reader skips empty lines as well
            continue
        values = line.split(separator)
        if len(values) != len(names):
            raise InputError(f"{item_file}, line {number}: expected {len(names)} columns ({', '.join(names)}), found {len(values)}. "
                             f"Mend the line, or set field_separator (now {separator!r}).")
        row = dict(zip(names, values))
        key = row[item_id_field]
        if rows.setdefault(key, row) != row:
            raise InputError(f"{item_file}: the item {key!r} stands in lines {line_of[key]} and {number} with different fields; "
                             "expected one row per item. Keep one of the two.")
        n_repeated += key in line_of
        line_of.setdefault(key, number)
    if n_repeated:
        logger.info("%s: %d rows repeat an earlier row word for word and change nothing.", item_file, n_repeated)
    return rows


def _lines(path, encoding):
    """Numbered lines. Only a line feed ends one: a title may hold a carriage return, which Python would take for an end too."""
    try:
        with open(path, encoding=encoding, newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.removesuffix("\n").removesuffix("\r")
    except FileNotFoundError as error:
        raise InputError(f"there is no item file {path}, and PRORec needs a text for each item. Put the file there (first line such as "
                         "item_id:token<tab>title:token), or set text_embedding_file to ready-made embeddings.") from error
    except (OSError, UnicodeError, LookupError) as error:
        raise InputError(f"{path} cannot be read as {encoding} text: {error}. Mend the file, or set `encoding`.") from error


def default_template(fields, item_id_field="item_id"):
    """Every field but the item key, in file order: "title: {title}. brand: {brand}"."""
    names = [name for name in fields if name != item_id_field]
    if not names:
        raise InputError(f"the item file has no field besides {item_id_field!r}, so there is no text. Add one, such as title:token, "
                         "or set text_embedding_file to ready-made embeddings.")
    return ". ".join(f"{name.replace('_', ' ')}: {{{name}}}" for name in names)


def render(template, fields, item_id_field="item_id"):
    """Fill in a template such as "{title} ({year}). {brand}"; "{{" and "}}" stand for braces, None for `default_template`.

    A blank field goes together with the words between the field before and itself, and with the bracket closed after it:
    without a year the example reads "title. brand". What ends the template stays while there is any field at all.
    """
    pieces, ending = _parse(default_template(fields, item_id_field) if template is None else template)
    unknown = [name for _, _, name, _ in pieces if name not in fields]
    if unknown:
        raise InputError(f"text_template names {', '.join(map(repr, unknown))}; the item file has only {', '.join(fields)}.")
    text = ""
    for separator, label, name, closing in pieces:
        if fields[name].strip():
            text += (separator if text else "") + label + fields[name] + closing
    return text + ending if text else ""


@lru_cache
def _parse(template):
    """Template -> ((separator, label, field name, closing bracket), ...), ending. A separator stands between two fields, or not at all."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"text_template {template!r} is malformed: {error}. Write {{field}} for a field, {{{{ and }}}} for "
                         "braces.") from error
    literals, names = _merge_literals(parsed)
    if not names or any(spec or conversion for _, _, spec, conversion in parsed):
        raise InputError(f"text_template is {template!r}; expected at least one field, each as its bare name in braces, such as "
                         "{title}.")
    closings, betweens = zip(*(_split_after(CLOSING, literal) for literal in literals[1:]))
    heads = [("", literals[0]), *(_split_after(SEPARATING, between) for between in betweens[:-1])]
    return tuple((*head, name, closing) for head, name, closing in zip(heads, names, closings)), betweens[-1]


def _split_after(characters, literal):
    rest = literal.lstrip(characters)
    return literal[:len(literal) - len(rest)], rest


def _merge_literals(parsed):
    """Formatter's pieces -> n + 1 literals around n names; an escaped brace comes as a piece of its own."""
    literals, names = [""], []
    for literal, name, _, _ in parsed:
        literals[-1] += literal
        if name is not None:
            names.append(name)
            literals.append("")
    return literals, names


def item_texts(item_file, item_keys, template=None, item_id_field="item_id", separator="\t", encoding="utf-8"):
    """One text per item key, in their order; "" for an item of which the file says nothing, which is counted in the log."""
    item_keys = list(map(str, item_keys))
    rows = read_item_fields(item_file, separator, encoding, item_id_field)
    names = read_header(item_file, separator, encoding)
    render(template, dict.fromkeys(names, ""), item_id_field)  # refuses a wrong template even where the file has no rows
    texts = [render(template, rows[key], item_id_field) if key in rows else "" for key in item_keys]
    silent = [key for key, text in zip(item_keys, texts) if not text]
    if texts and len(silent) == len(texts):
        raise InputError(f"none of the {len(texts)} items has a text in {item_file} (first item: {item_keys[0]!r}, fields: "
                         f"{', '.join(names)}). Fill in the file, name filled fields in text_template, or set text_embedding_file to "
                         "ready-made embeddings.")
    if silent:
        logger.warning("%d of %d items have no text in %s and get the mean embedding of all others; the first are %s.",
                       len(silent), len(texts), item_file, ", ".join(map(repr, silent[:N_NAMED])))
    return texts
