"""Parts of kernels: what is only ever inlined (`solvers._jit`) is handed on as it was lowered.

Numba optimizes each function, and makes machine code of it, before it is inlined in another, which is optimized again
with all that is in it. Of five layers the inner loops would be optimized six times. Here parts are lowered only; the
kernel into which they go does the rest, once.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import gc
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering


class _Part(JITCodeLibrary):
    """Code that is linked into other code, neither optimized nor run."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        codegen = state.targetctx.codegen()
        state.library = _Part(codegen, state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        # a dispatcher wants a function that Python can call: this one refuses (a KeyError)
        entry: Any = {}.pop
        state["cr"] = state["cr"]._replace(cfunc=entry)
        state.library.finalize()
        state.targetctx.insert_user_function(entry, state["cr"].fndesc, [state.library])
        return True


class KernelCompiler(CompilerBase):
    """Numba's compiler, with the collector of garbage paused: it would look in vain at what is being compiled."""

    def define_pipelines(self) -> list[Any]:
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]

    def _compile_core(self) -> Any:
        # one thread compiles at a time, under Numba's lock
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super()._compile_core()
        finally:
            if enabled:
                gc.enable()


class PartCompiler(KernelCompiler):
    """The same, with that change in its pass of lowering."""

    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        changed = PassManager("part")
        for kind, text in manager.passes:
            changed.add_pass(_PartLowering if kind is NativeLowering else kind, text)
        changed.finalize()
        return [changed]
