"""Functions that wait for a module of RecBole's: importing this package stays quick, and the order of imports does not matter."""

import sys

_before, _after = {}, {}  # module name -> functions


def before_import(name):
    """Decorator: call function() just before module `name` is executed; never, if it is loaded already."""
    return lambda function: _wait(_before, name, function)


def after_import(name):
    """Decorator: call function(module) when module `name` has been executed; at once, if it is loaded already."""

    def wait(function):
        if name in sys.modules:
            function(sys.modules[name])
        return _wait(_after, name, function)

    return wait


def _wait(table, name, function):
    table.setdefault(name, []).append(function)
    return function


class _WaitingFinder:
    """Lets the other finders find a module and wraps the execution of those that somebody waits for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _before and name not in _after:
            return None
        finders = (finder for finder in sys.meta_path if finder is not _WaitingFinder)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        if spec is not None:
            spec.loader.exec_module = _surrounded(name, spec.loader.exec_module)
        return spec


def _surrounded(name, execute):
    def exec_module(module):
        for function in _before.get(name, ()):
            function()
        execute(module)
        for function in _after.get(name, ()):
            function(module)

    return exec_module


sys.meta_path.insert(0, _WaitingFinder)
