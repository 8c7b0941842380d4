"""Studies: one function over a grid of parameters and seeds, on any engine, its results in a folder.

A cell is a pure function of (configuration, seed). Who computes it writes its result under the configuration's hash,
to a temporary file that is moved in place; what comes back through the engine is the hash and a status; the table is
read from the folder. So an engine may run any cell anywhere, in any order and any number of times.

``entry`` is the function and ``compute`` what it does once all is checked; ``definition`` says what is asked, in
``encode``'s words and with ``identity``'s digest of the cell; ``store`` is the folder; ``cell`` runs one task wherever
it lands; ``drive`` hands tasks to an engine of ``engines`` (here, or any executor) or to ``pool`` (processes of its
own, each a ``worker``); ``read`` makes of the records the ``table`` that comes out. ``load`` and ``shards`` are for
the command line, which has the folder only.
"""

from meanfield._study.entry import study

__all__ = ["study"]
