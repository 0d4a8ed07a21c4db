"""The fairseq plugin, and the only place that imports fairseq: every module here registers what it defines."""

from importlib import import_module
from pkgutil import iter_modules

from fairseq_meloformer.plugin import compat, native

compat.apply()
# The user's own MuseFormer first: fairseq keeps whoever takes a name first.
native.register()
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
