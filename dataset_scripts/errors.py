"""What can be wrong with a raw file, told in one line."""


class ConversionError(ValueError):
    """Says what was expected, what came, and what to do; the commands print it without a traceback."""


class Malformed:
    """Counts the lines that cannot be used. A few are skipped and reported; above the limit the file is refused."""

    limit = 0.01
    shown = 3

    def __init__(self):
        self.n_read, self.n_malformed, self.examples = {}, {}, {}

    def read(self, path, n_lines=1):
        self.n_read[path] = self.n_read.get(path, 0) + n_lines

    def add(self, path, line, reason, n_lines=1):
        self.n_malformed[path] = self.n_malformed.get(path, 0) + n_lines
        examples = self.examples.setdefault(path, [])
        if len(examples) < self.shown:
            examples.append(f"line {line}: {reason}")

    def check(self, path):
        """To be asked once the file is read to its end: only then is the share known."""
        n_read = self.n_read.get(path, 0)
        if n_read == 0:
            raise ConversionError(f"{path} holds no records. Is it the right file, and was the download complete?")
        if self.n_malformed.get(path, 0) > self.limit * n_read:
            raise ConversionError(
                f"{self._describe(path)}. At most {self.limit:.0%} may be malformed: "
                "check that this is the right file for this converter, or mend the lines."
            )

    def report(self):
        return [f"skipped: {self._describe(path)}" for path in self.n_malformed]

    def _describe(self, path):
        examples = "; ".join(self.examples[path])
        return f"{path}: {self.n_malformed[path]:,} of {self.n_read[path]:,} lines malformed ({examples})"
