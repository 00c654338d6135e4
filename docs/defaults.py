"""Types and defaults of the reference's parameters, as the functions themselves have them.

Griffe gives every name of a line such as ``h0, q0 : array`` the default of the first, and its annotation where the line
has no type; and it shows the words of the signature, ``Training.T``, where a reader wants 300."""

import inspect
from importlib import import_module

import griffe


class Defaults(griffe.Extension):
    def on_package(self, *, pkg, **_):
        self._visit(pkg)

    def _visit(self, module_or_class):
        for member in module_or_class.members.values():
            if member.is_alias or member.is_attribute:
                continue
            if member.is_module or member.is_class:
                self._visit(member)
            if not member.is_module and member.docstring is not None:
                self._correct(member)

    def _correct(self, documented):
        try:
            signature = inspect.signature(_real(documented))
        except (ImportError, AttributeError, ValueError, TypeError):
            return  # of a library that is not here, or without a signature
        defaults = {
            name: _shown(parameter.default)
            for name, parameter in signature.parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        for parameter in documented.parameters:
            parameter.default = defaults.get(parameter.name, parameter.default)
        annotations = {parameter.name: parameter.annotation for parameter in documented.parameters}
        for section in documented.docstring.parsed:
            if section.kind is griffe.DocstringSectionKind.parameters:
                for parameter in section.value:
                    parameter.value = defaults.get(parameter.name)
                    if parameter.annotation in annotations.values():
                        parameter.annotation = annotations.get(parameter.name)


def _real(documented):
    """The function or class that Griffe has read."""
    found = import_module(documented.module.path)
    for name in documented.path.removeprefix(documented.module.path).strip(".").split("."):
        found = getattr(found, name)
    return found


def _shown(default):
    return default.__name__ if isinstance(default, type) else repr(default).replace("'", '"')
