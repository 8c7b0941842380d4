"""Studies: one function over a grid of parameters and seeds, on any engine, its results in a folder.

A cell is a pure function of (configuration, seed). Who computes it writes its result under the configuration's hash,
to a temporary file that is moved in place; what comes back through the engine is the hash and a status; the table is
read from the folder. So an engine may run any cell anywhere, in any order and any number of times.

``entry`` is the function; ``definition`` says what is asked, in ``encode``'s words and with ``identity``'s digest of
the cell; ``store`` is the folder; ``cell`` runs one task wherever it lands; ``drive`` hands tasks to an engine of
``engines`` (here, any executor) or ``pool`` (processes of its own); ``table`` is what comes out.
"""

from meanfield._study.entry import study
from meanfield._study.table import Table

__all__ = ["Table", "study"]
